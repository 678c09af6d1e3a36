//! The ingress link: `loggregator.v2.Ingress`, with acknowledgements between components of Weir.

mod client;
mod server;

pub use client::{Ended, Link, LinkError, Unsent, Volume};
pub use server::{IngressServer, Method};

/// The full path of the call that carries batches.
pub(crate) const BATCH_SENDER_PATH: &str = "/loggregator.v2.Ingress/BatchSender";

/// The name of the ingress service.
pub const INGRESS_SERVICE: &str = "loggregator.v2.Ingress";
