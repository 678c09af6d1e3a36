//! Shared parts of the tests that run a stack.
//!
//! - [`Stack`] starts `weir up` as a user would, in one process or in several, and can kill its components.
//! - [`Series`] makes numbered envelopes. [`Emitter`] sends them as a client of the original would.
//! - [`RlpConsumer`] and [`Firehose`] are consumers that can be paused, and record what they get in [`Received`].
//! - [`drains`] has the other end of syslog drains: receivers, collectors, rsyslog, syslog-ng, a feed of bindings.
//! - [`Ledgers`] are the ledgers of all components. [`conserved`] checks that each envelope was delivered or counted.
//!
//! Nothing here depends on the inside of a component. A stack is found by its `endpoints.json`, and its losses by its
//! ledger files.

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
pub use firehose::{Firehose, WebSocket, connect_firehose};
pub use grpc::connect;
pub use https::{Answer, Https};
pub use log_cache::LogCache;
pub use oracle::{Account, Ledgers, Tolerance, Verdict, conserved};
pub use parts::Parts;
pub use received::{Numbers, Received, Sent, sent_of};
pub use rlp::{RlpConsumer, any, events_of, logs_of};
pub use series::{PAYLOAD_MARK, Series, Shape};
pub use stack::{Mode, Signal, Stack, StackBuilder};
pub use wait::{PATIENCE, eventually, served};
