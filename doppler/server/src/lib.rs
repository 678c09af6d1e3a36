//! The doppler: gRPC ingress and egress around the router.
//!
//! Envelopes arrive by `loggregator.v2.Ingress/{Sender,BatchSender}`, are validated and routed on the task that
//! received them, and leave by `loggregator.v2.Egress/BatchedReceiver`. Nothing is stored, so a new subscriber gets no
//! older envelopes. Consumers never delay producers: if a queue is full, the source that fills it loses envelopes.
//!
//! `Ingress/Send` and `Egress/Receiver` are not served, as in the original (logging §3).

mod absent;
mod component;
mod config;
mod consumer_reconnect;
mod egress;
mod ingress;
mod server;

pub use config::{Config, RawConfig};
pub use server::Server;
pub use weir_net::ServerError as Error;
