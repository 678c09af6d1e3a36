//! The reverse log proxy: v2 egress over several dopplers.
//!
//! Each client stream has a subscription of its own at every doppler; their messages are merged and passed on, as the
//! bytes they are unless tags have to change places. The RLP queues nothing: a client that reads slowly holds its own
//! subscription back by HTTP/2's flow control, and the doppler's queue for it decides who loses.

mod component;
mod config;
mod error;
mod server;
mod service;
mod stream;
mod tags;

pub use config::{Config, RawConfig};
pub use error::Error;
pub use server::Server;
