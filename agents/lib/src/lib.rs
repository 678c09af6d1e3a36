//! The parts that the agents of a machine share.
//!
//! ```text
//! producers ─gRPC─▶ IngressPort ─ Ingress ─▶ (rewrite) ─▶ Buffer ─▶ Outlet ─acknowledged links─▶ the next hop
//! ```
//!
//! - [`IngressPort`] and [`Ingress`] serve `loggregator.v2.Ingress` over mTLS (logging §7).
//! - [`rewrite`] sets source ids, tags and counter totals in encoded envelopes.
//! - [`outlet`] is a bounded, fair buffer and the links that empty it to one of several equal peers.
//! - [`bounds`] are the bounds of buffers and links as configuration files write them.
//!
//! Each agent is a crate beside this one and decides what it does with the envelopes that it receives.

pub mod bounds;
mod ingress;
mod ingress_port;
pub mod outlet;
pub mod rewrite;
#[cfg(feature = "testing")]
pub mod testing;

pub use ingress::{HOP as INGRESS, Ingress, OriginMappings};
pub use ingress_port::IngressPort;
pub use outlet::{Buffer, InFlightLimit, Outlet};
