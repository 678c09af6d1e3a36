//! The traffic controller serves the firehose and app streams to v1 clients over WebSocket.
//!
//! ```text
//! dopplers ─v2, acknowledged─▶ subscription ─▶ v1 conversion ─▶ WebSocket frames ─TLS─▶ nozzle
//! ```
//!
//! - `/firehose/<subscription>` carries all envelopes, shared among the clients with this subscription id.
//!   `filter-type` may be `logs` or `metrics`. `/apps/<guid>/stream` carries the envelopes of one app. `/set-cookie`
//!   stores a browser's token in a cookie.
//! - Each stream subscribes at every doppler for v2 envelopes and converts them itself, directly from the encoded form
//!   into frames: one binary message for each v1 envelope. If a doppler fails, its streams go on.
//! - A client that does not accept a record in 5 s, or does not answer a ping in 30 s, is disconnected.
//!
//! What a client asked for is either delivered, which means that it is in the socket, or counted in the ledger as
//! `unconvertible`, `slow_consumer`, `consumer_gone` or `shutting_down`. The doppler counts what was not fetched from
//! it. A receipt is released when the last frame of its message is written. This crate corresponds to the traffic
//! controller of loggregator-release, without the removed `recentlogs` and `containermetrics`.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod component;
mod config;
mod http;
mod metrics;
mod server;
mod stream;
mod websocket;

pub use config::{Config, RawConfig, RawLimits, RawTimeouts};
pub use server::Server;
