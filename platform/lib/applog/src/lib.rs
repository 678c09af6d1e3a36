//! What platform parts say about an app, in the app's own stream.
//!
//! [`Requests`] tells of HTTP requests: an access log line (source type `RTR`) and `http` timers, as the original router
//! ([compute-routing](../../../../docs/contracts/compute-routing.md) §13.6), and in the timers what the SQL view
//! `router_requests` shows.
//!
//! [`Connections`] tells of connections that a TCP router carried: a timer `tcp` for each.
//!
//! A record is encoded at once, by the thread that served the request, into a buffer that only this thread uses. Buffers
//! travel through one bounded queue to one [producer](weir_rpc::producer). When the queue is full, the app that fills it
//! loses its oldest envelopes, which are counted in the component's ledger.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod access_log;
mod connections;
mod outbox;
mod record;
mod requests;
mod tags;
mod timer;

pub use access_log::{AccessLogSettings, ExtraField, Redact, write_line};
pub use connections::{ConnectionRecord, Connections};
pub use record::{Attempt, Backend, Phases, RequestRecord, TraceIds};
pub use requests::{RequestSettings, Requests};
pub use tags::AppTags;
