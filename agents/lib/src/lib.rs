//! What the agents of a machine have in common.
//!
//! ```text
//! producers ─gRPC─▶ Face ─ Ingress ─▶ (rewrite) ─▶ Buffer ─▶ Outlet ─acknowledged links─▶ the next hop
//! ```
//!
//! - [`Face`] and [`Ingress`]: `loggregator.v2.Ingress` over mTLS as every agent serves it (logging §7).
//! - [`rewrite`]: identity, tags and counter totals, raw to raw.
//! - [`outlet`]: a bounded, fair buffer and the links that empty it, to one of several equal peers.
//! - [`bounds`]: the bounds of buffers as configurations write them.
//! - [`yaml`]: the little YAML that the original's job files are made of.
//!
//! The agents themselves are crates beside this one; each says what it does with what came in.

pub mod bounds;
mod error;
mod face;
mod ingress;
pub mod outlet;
pub mod rewrite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod yaml;

pub use error::Error;
pub use face::Face;
pub use ingress::{HOP as INGRESS, Ingress, OriginMappings};
pub use outlet::{Buffer, InFlightLimit, Outlet};
