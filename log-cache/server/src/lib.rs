//! The log cache: gRPC, REST and SQL over the store.
//!
//! Envelopes arrive from the dopplers (`intake`: stored, then acknowledged) and by `logcache.v1.Ingress/Send`. They are
//! read by gRPC (`grpc`), by REST (`gateway`, and `proxy` for clients with a token) and by SQL over HTTP (`sql`), all
//! from one store. Without the feature `sql`, which is on by default, there is no query engine, and SQL requests are
//! answered so (`no_sql`). The sources that a caller with a token may read are determined in `caller` for all of these.

mod answers;
mod caller;
mod component;
mod config;
mod error;
mod gateway;
mod grpc;
mod intake;
mod metrics;
#[cfg(any(test, not(feature = "sql")))]
mod no_sql;
mod proxy;
mod reading;
mod server;
#[cfg(feature = "sql")]
mod sql;

pub use config::{Config, RawConfig, RawMemory, RawSql};
pub use error::Error;
pub use server::{Addresses, Server};
