//! The RLP gateway serves v2 envelopes as server-sent events over HTTPS (logging §10).
//!
//! ```text
//! RLP ─v2 gRPC─▶ provider ─▶ backlog ─▶ events (JSON) ─▶ outlet ─HTTP/1.1, TLS─▶ client
//! ```
//!
//! `GET /v2/read` opens a stream. `service` handles a request: it checks the path, the caller and the query (`query`),
//! takes a place (`stream_limits`) and subscribes at the RLP (`provider`). Then a task (`stream`) serves the stream
//! until the client disconnects, its token ends, the time limit is reached, or the RLP is absent for too long. A last
//! event says why it ended.
//!
//! The gateway takes from the RLP only what its client has room for. If a client is slow, HTTP/2 flow control delays
//! its subscription, and the doppler's queue decides which source loses envelopes. What was taken and not written is
//! counted here, with the reasons `consumer_gone`, `slow_consumer`, `shutting_down` and `malformed`.
//!
//! A client that sends `Last-Event-ID` gets events with ids, and may reconnect within a minute for what it missed
//! (`sessions`). Events for other clients are the original's, byte for byte. Only HTTP/1.1 is served, because the
//! original's header `Connection: keep-alive` requires it.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod answer;
mod backlog;
mod component;
mod config;
mod connection;
mod events;
mod front;
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
mod outlet;
mod provider;
mod query;
mod server;
mod service;
mod sessions;
mod stream;
mod stream_limits;

pub use config::{Config, RawConfig, RawLimits, RawResume, RawTimeouts};
pub use server::Server;
