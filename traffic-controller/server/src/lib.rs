//! The traffic controller: WebSocket firehose and app streams for v1 clients.
//!
//! ```text
//! dopplers ─v2, acknowledged─▶ subscription ─▶ v1 conversion ─▶ WebSocket frames ─TLS─▶ nozzle
//! ```
//!
//! - `/firehose/<subscription>` is everything, shared among the clients with the same subscription id; `filter-type` is
//!   `logs` or `metrics`. `/apps/<guid>/stream` is what belongs to one app. `/set-cookie` hands a browser its token.
//! - Each stream subscribes at every doppler for v2 envelopes and converts them itself, straight from the wire form into
//!   frames: one binary message for each v1 envelope. Losing a doppler does not close a stream.
//! - A client that does not take a record in 5 s, or does not answer a ping in 30 s, is cut.
//!
//! What a client asked for is delivered (it lies in the socket), or counted in the ledger: `unconvertible`,
//! `slow_consumer`, `consumer_gone`, `shutting_down`. What was not fetched from a doppler is that doppler's to count; a
//! receipt is let go when the last frame of its message is written. Matches the traffic controller of
//! loggregator-release, without the removed `recentlogs` and `containermetrics`.

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
mod error;
mod http;
mod metrics;
mod server;
mod stream;
mod websocket;

pub use config::{Config, DOCS, RawConfig, RawLimits, RawTimeouts};
pub use error::Error;
pub use server::Server;
