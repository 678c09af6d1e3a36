//! The loggregator agent: where every producer of a machine sends its envelopes.
//!
//! ```text
//! producers ─gRPC─▶ ingress ─▶ rewrite ─▶ FairQueue ─▶ egress ─acknowledged links─▶ dopplers
//! ```
//!
//! - In: `loggregator.v2.Ingress` (`Sender`, `BatchSender`, `Send`) over mTLS, server name `metron`, messages up to
//!   10 MiB. An invalid envelope costs only itself.
//! - [`rewrite`]: identity, tags and counter totals (contract §7), raw to raw.
//! - The buffer is bounded in envelopes and bytes and outlives a doppler's restart; when it is full the source that
//!   fills it loses its oldest.
//! - Out: acknowledged `BatchSender` links to all dopplers, balanced by what is in flight on each.
//!
//! A receipt of a producer that waits for acknowledgements travels with its envelopes through all of this, and is settled
//! by the doppler's acknowledgement. Every envelope that came in is sent, in flight, or dropped and counted by reason.
//! Matches the loggregator agent of loggregator-agent-release, without its UDP (v1) half.

mod config;
mod egress;
mod error;
mod ingress;
mod metrics;
pub mod rewrite;
mod server;

pub use config::{Config, DOCS, RawBounds, RawConfig};
pub use error::Error;
pub use server::Server;
