//! Routing of envelopes to subscriptions.
//!
//! [`Router::publish`] is called by every ingress stream, on its own task, and must not wait: it reads an immutable
//! [`table`] of who wants what, cuts the batch up for each subscription that wants a part of it, and pushes the parts to
//! their queues. Subscribing and unsubscribing build a new table; they are rare.
//!
//! Semantics follow the original's router (logging §8): each selector of a subscription stands for itself, so an
//! envelope that matches two of them is delivered twice; subscriptions with the same shard id *and* the same selector
//! form a group, of which one member gets each envelope.

mod group;
mod hash;
mod names;
mod router;
mod table;

pub use router::{Request, Router, Subscribed};
