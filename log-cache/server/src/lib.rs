//! The log cache: gRPC, REST and SQL faces over the store.
//!
//! Envelopes come from the dopplers (`intake`: stored, then acknowledged) and by `logcache.v1.Ingress/Send`. They are
//! read by gRPC (`grpc`), by REST (`gateway`) and by SQL over HTTP (`sql`); all three are faces of one store.

mod config;
mod error;
mod gateway;
mod grpc;
mod intake;
mod metrics;
mod reading;
mod server;
mod sql;

pub use config::{Config, RawConfig, RawMemory, RawSql, SqlConfig};
pub use error::Error;
pub use server::{Addresses, Server};
