//! The doppler: gRPC ingress and egress around the router.
//!
//! Envelopes enter by `loggregator.v2.Ingress/{Sender,BatchSender}`, are validated and routed on the task that received
//! them, and leave by `loggregator.v2.Egress/BatchedReceiver`. Nothing is stored: who subscribes late sees nothing old.
//! Consumers never hold up producers: a full queue loses, and the source that fills it pays.
//!
//! `Ingress/Send` and `Egress/Receiver` are not served, as in the original (logging §3).

mod absent;
mod component;
mod config;
mod egress;
mod error;
mod ingress;
mod reunion;
mod server;

pub use config::{Config, RawConfig};
pub use error::Error;
pub use server::Server;
