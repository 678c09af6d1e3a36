//! The loggregator agent: from the producers of a machine (or the forwarder agent in front of it) to the dopplers.
//!
//! ```text
//! producers ─gRPC─▶ ingress ─▶ rewrite ─▶ FairQueue ─▶ egress ─acknowledged links─▶ dopplers
//! ```
//!
//! - In: `loggregator.v2.Ingress` (`Sender`, `BatchSender`, `Send`) over mTLS, server name `metron`, messages up to
//!   10 MiB. An invalid envelope costs only itself.
//! - [`weir_agents_lib::rewrite`]: identity, tags and counter totals (logging §7), raw to raw.
//! - The buffer is bounded in envelopes and bytes and outlives a doppler's restart; when it is full the source that
//!   fills it loses its oldest.
//! - Out: acknowledged `BatchSender` links to all dopplers, balanced by what is in flight on each
//!   ([`weir_agents_lib::outlet`]).
//!
//! A receipt of a producer that waits for acknowledgements travels with its envelopes through all of this, and is settled
//! by the doppler's acknowledgement. Every envelope that came in is sent, in flight, or dropped and counted by reason.
//! Matches the loggregator agent of loggregator-agent-release, without its UDP (v1) half.

mod component;
mod config;
mod intake;
mod metrics;
mod server;

pub use config::{Config, DOCS, RawConfig};
pub use server::Server;
pub use weir_agents_lib::Error;
pub use weir_agents_lib::bounds::RawBounds;
