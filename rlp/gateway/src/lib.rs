//! The RLP gateway: v2 envelopes as server-sent events over HTTPS (logging §10).
//!
//! ```text
//! RLP ─v2 gRPC─▶ provider ─▶ backlog ─▶ events (JSON) ─▶ outlet ─HTTP/1.1, TLS─▶ client
//! ```
//!
//! `GET /v2/read` opens a stream. A request goes through `service`: its path, who asks, what it asks for (`query`), a
//! place (`places`), a subscription at the RLP (`provider`); then a task of its own serves it (`stream`) until the client
//! goes, its token ends, the time is over, or the RLP is gone for too long; it says so in a last event.
//!
//! The gateway takes from the RLP only what its client has room for: a slow client holds its subscription back by HTTP/2's
//! flow control, and the doppler's queue decides who loses. What was taken and not written is counted here:
//! `consumer_gone`, `slow_consumer`, `shutting_down`, `malformed`.
//!
//! A client that sends `Last-Event-ID` gets events with ids, and may come back within a minute for what it missed
//! (`sessions`). Frames for all others are the original's, byte for byte. What is served: HTTP/1.1 alone, as the original's
//! `Connection: keep-alive` demands.

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
mod error;
mod events;
mod front;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod line;
mod metrics;
mod outlet;
mod places;
mod provider;
mod query;
mod server;
mod service;
mod sessions;
mod stream;

pub use config::{Config, DOCS, RawConfig, RawLimits, RawResume, RawTimeouts};
pub use error::Error;
pub use server::Server;
