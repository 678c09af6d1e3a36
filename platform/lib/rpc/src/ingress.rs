//! The ingress link: `loggregator.v2.Ingress`, with acknowledgements where both ends are ours.

mod client;
mod server;

pub use client::{Ended, Link, LinkError, OnTheWay, Unsent};
pub use server::{IngressServer, Method};

/// Full path of the call that carries batches.
pub(crate) const BATCH_SENDER_PATH: &str = "/loggregator.v2.Ingress/BatchSender";

/// Name of the ingress service.
pub const INGRESS_SERVICE: &str = "loggregator.v2.Ingress";
