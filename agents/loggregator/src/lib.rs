//! The loggregator agent sends the envelopes of a machine to the dopplers. It gets them from producers or from the
//! forwarder agent.
//!
//! ```text
//! producers ─gRPC─▶ ingress ─▶ rewrite ─▶ FairQueue ─▶ egress ─acknowledged links─▶ dopplers
//! ```
//!
//! - The agent serves `loggregator.v2.Ingress` (`Sender`, `BatchSender`, `Send`) over mTLS under the server name
//!   `metron`, with messages of up to 10 MiB. An invalid envelope does not affect the others of its batch.
//! - [`weir_agents_lib::rewrite`] sets source ids, tags and counter totals in encoded envelopes (logging §7).
//! - The buffer is bounded in envelopes and bytes, and large enough for the restart of a doppler. When it is full, the
//!   source that fills it loses its oldest envelopes.
//! - Acknowledged `BatchSender` links lead to all dopplers. Each message goes to the one of two randomly picked
//!   dopplers that has less in flight ([`weir_agents_lib::outlet`]).
//!
//! The receipt of a producer that waits for acknowledgements travels with its envelopes, and the doppler's
//! acknowledgement releases it. Every received envelope is sent, in flight, or dropped and counted by reason. This
//! crate corresponds to the loggregator agent of loggregator-agent-release, without its UDP (v1) part.

mod component;
mod config;
mod intake;
mod metrics;
mod server;

pub use config::{Config, RawConfig};
pub use server::Server;
pub use weir_agents_lib::bounds::RawBounds;
pub use weir_net::ServerError as Error;
