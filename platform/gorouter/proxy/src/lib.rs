//! The gorouter: an HTTP reverse proxy for the routes that are registered over NATS (contract compute-routing §13).
//!
//! ```text
//! client ─▶ front ─▶ exchange ─▶ forward ─▶ backend ─▶ application
//!                       │           │
//!                    lookup      table: routes, backends, who is next
//!                       ▲
//! NATS ─▶ registrations ┘
//! ```
//!
//! - `front` serves connections: HTTP/1.1, HTTP/2, and how long a client may take (`front/watch`).
//! - `exchange` is the way of one request up to its answer's head, in the order of the contract; `refusal` has the answers that
//!   the router gives itself, `headers` what it reads and writes, `sticky` sessions, `upgrade` WebSockets.
//! - `forward` tries backends until one answers; `backend` has the connections to them.
//! - `route_service` leads requests through services first (`forward/service` sends them there).
//! - `account` follows a request to its last byte, and `telemetry` tells of it.
//! - `job` reads the original's job file.
//!
//! Bodies are streamed both ways and never gathered: what the slower side has not taken stays in its sender's socket. What a
//! client may use is bounded by its port (connections), by `limits` (heads) and by `timeouts`.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod account;
mod backend;
mod client_body;
mod component;
mod config;
mod error;
mod exchange;
mod forward;
mod front;
mod gauges;
mod headers;
mod health;
pub mod job;
mod lookup;
mod outbound;
mod peer;
mod refusal;
mod registrations;
mod reply;
mod route_service;
mod router;
mod server;
mod settings;
mod status;
mod sticky;
mod telemetry;
mod upgrade;

pub use config::{
    Config, RawBackendTls, RawBackends, RawCertificate, RawConfig, RawHeaders, RawLimits, RawRouteServices, RawTable,
    RawTelemetry, RawTimeouts,
};
pub use error::Error;
pub use server::Server;
