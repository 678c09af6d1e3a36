//! The syslog server of the log cache: receives RFC 5424 messages, and sends them to the log cache as envelopes.
//!
//! ```text
//! agents ─TLS─▶ Front ─▶ connection: Decoder ─▶ Mapper ─▶ Outbox ─▶ Shipper ─Ingress/Send─▶ log cache
//! ```
//!
//! - Input: octet-counted messages (or lines) over TLS, as the original's agents send them to an aggregate drain
//!   (logging §14.1). A bad message is skipped and counted, and does not affect the others.
//! - No text is trimmed or cut. docs/decisions/0007 lists what RFC 5424 itself cannot carry.
//! - Output: batches to `logcache.v1.Ingress/Send`, a few at a time. The answer of the log cache is its
//!   acknowledgement. Until it comes, a batch is kept, and sent again if necessary.
//! - Bound: a budget of bytes that all connections share. When the log cache is slow or away, the budget is used up and
//!   no socket is read, so that the senders wait and nothing is lost here.
//!
//! Every received message is sent, in flight, or dropped and counted by reason: `ingress: malformed` (not RFC 5424, or
//! badly framed), `unconvertible` (not an envelope's), `too_large`; `egress: rejected` (refused by the log cache),
//! `shutting_down`. The component matches log-cache-syslog-server of log-cache-release.

mod component;
mod config;
mod connection;
mod metrics;
mod outbox;
mod server;

pub use config::{Config, Framing, RawBatch, RawConfig};
pub use server::Server;
pub use weir_net::ServerError as Error;
