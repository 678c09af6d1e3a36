//! The log cache's syslog server: RFC 5424 in, envelopes to the log cache.
//!
//! ```text
//! agents ─TLS─▶ Front ─▶ connection: Decoder ─▶ Mapper ─▶ Outbox ─▶ Shipper ─Ingress/Send─▶ log cache
//! ```
//!
//! - In: octet counted messages (or lines) over TLS, as the original's agents send them to their aggregate drain
//!   (logging §14.1). A bad message costs only itself: it is skipped and counted, and the connection goes on.
//! - Nothing is trimmed or cut; docs/decisions/0007 says what RFC 5424 itself cannot carry.
//! - Out: batches to `logcache.v1.Ingress/Send`, a few at a time. The log cache's answer is its acknowledgement: until
//!   then a batch is kept and, if need be, sent again.
//! - In between: a budget of bytes that all connections share. When the log cache is slow or away, the budget is used up
//!   and nobody's socket is read any more: the senders wait, and lose nothing here.
//!
//! Every message that came in is sent, in flight, or dropped and counted by reason: `ingress: malformed` (no RFC 5424, or
//! bad framing), `unconvertible` (no envelope's), `too_large`; `egress: rejected` (the log cache does not want it),
//! `shutting_down`. Matches log-cache-syslog-server of log-cache-release.

mod component;
mod config;
mod connection;
mod error;
mod metrics;
mod outbox;
mod server;

pub use config::{Config, DOCS, Framing, RawBatch, RawConfig};
pub use error::Error;
pub use server::Server;
