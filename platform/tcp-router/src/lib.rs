//! The TCP router carries connections of external ports to the backends of their routes (compute-routing §14).
//!
//! ```text
//! routing API ─ list, events ─▶ source ─▶ table ─▶ routes ─▶ ports (one listener each)
//!                                                              │
//! client ─▶ session: PROXY header, name in the hello, backend in turn ─▶ relay: copy or splice ─▶ backend
//! ```
//!
//! - `table` is what the routing API has, with the age of each entry; `routes` is what connections see. Both are pure.
//! - `ports` opens and closes listeners. All share the places of connections, with a share for each peer network.
//! - `session` is the life of a connection, `relay` its bytes.
//!
//! A change of routes touches no connection that is carried. Limits: connections and pipes are counted, a client's first bytes
//! are at most 16 KiB, and what is carried is held only while its destination does not take it.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod backend;
mod client_hello;
mod component;
mod config;
mod error;
mod health;
mod ports;
mod relay;
mod router;
mod routes;
mod server;
mod session;
mod sessions;
mod source;
mod stats;
mod table;

pub use config::{
    AcceptProxy, Config, RawBackendTls, RawConfig, RawLimits, RawProxyProtocol, RawRoutes, RawTelemetry, RawTimeouts,
    SendProxy,
};
pub use error::Error;
pub use server::Server;
