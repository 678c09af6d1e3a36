//! The reverse log proxy (RLP) serves v2 streams with the envelopes of several dopplers.
//!
//! Each client stream has its own subscription at every doppler. Their messages are merged and passed on unchanged,
//! unless the tags must be rewritten. The RLP has no queues: if a client reads slowly, HTTP/2 flow control delays its
//! subscriptions, and the doppler's queue decides which source loses envelopes.

mod component;
mod config;
mod server;
mod service;
mod stream;
mod tags;

pub use config::{Config, RawConfig};
pub use server::Server;
pub use weir_net::ServerError as Error;
