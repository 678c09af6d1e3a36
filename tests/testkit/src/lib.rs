//! What the tests of a running stack share.
//!
//! - [`Stack`] starts `weir up` as a user would, embedded or as separate processes, and can kill one of its parts.
//! - [`Series`] makes numbered envelopes; [`Emitter`] sends them as any client of the original would.
//! - [`RlpConsumer`] and [`Firehose`] receive, can be paused, and note what they got in a [`Received`].
//! - [`drains`] is the far side of syslog drains: receivers, collectors, rsyslog and syslog-ng, a feed of bindings.
//! - [`Books`] are the ledgers of all components; [`conserved`] is the law: what was sent is delivered or counted.
//!
//! Nothing here knows the inside of a component: a stack is found by its `endpoints.json`, its losses by its ledger files.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

mod binary;
mod crowd;
pub mod drains;
mod emitter;
mod endpoints;
mod firehose;
mod grpc;
mod https;
mod log_cache;
mod oracle;
mod parts;
mod processes;
mod received;
mod rlp;
mod series;
mod stack;
mod wait;

pub use binary::{Skip, weir_binary};
pub use crowd::{Crowd, connect_from, raise_file_limit};
pub use emitter::Emitter;
pub use endpoints::Endpoints;
pub use firehose::{Firehose, WebSocket, dial_firehose};
pub use grpc::connect;
pub use https::{Answer, Https};
pub use log_cache::LogCache;
pub use oracle::{Account, Books, Tolerance, Verdict, conserved};
pub use parts::Parts;
pub use received::{Numbers, Received, Sent, sent_of};
pub use rlp::{RlpConsumer, any, events_of, logs_of};
pub use series::{PAYLOAD_MARK, Series, Shape};
pub use stack::{Mode, Signal, Stack, StackBuilder};
pub use wait::{PATIENCE, eventually, served};
