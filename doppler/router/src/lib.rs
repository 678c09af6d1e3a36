//! Routes envelopes to subscriptions.
//!
//! Every ingress stream calls [`Router::publish`] on its own task, so it must not wait. It reads an immutable [`table`]
//! of subscriptions, selects from the batch what each subscription wants, and pushes these parts to the queues.
//! Subscribing and unsubscribing build a new table. This is expensive, but rare.
//!
//! The semantics are those of the original's router (logging §8). Each selector of a subscription is independent, so an
//! envelope that matches two of them is delivered twice. Subscriptions with the same shard id *and* the same selector
//! form a group, and one member of the group gets each envelope.

mod group;
mod hash;
mod names;
mod router;
mod table;

pub use router::{Request, Router, Subscribed};
