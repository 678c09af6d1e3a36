//! The routing API (contract "Routing API"): router groups, HTTP and TCP routes with a time to live, and their changes as
//! server-sent events.
//!
//! ```text
//! registrars, emitters ─ upsert, delete ─┐                  ┌─ tables ─ SQLite, PostgreSQL, MySQL
//! cloud controller ─ router groups ──────┼─ HTTPS ─▶ http ──┤
//! routers ─ lists, event streams ────────┘                  └─ hub ─▶ event streams
//!                                                   sweep ─ what expired ─▶ tables, hub
//! ```
//!
//! - `http` checks the token's scope, reads and validates a request (`validate`), and answers in the original's words.
//! - `routes` changes the tables and announces what changed: one request is one transaction, and events leave in the order
//!   of the commits.
//! - `hub` has the subscriptions. One that does not keep up with 1,024 events is ended, and its client connects again.
//! - `job` reads the job file of the original.
//! - `leader` lets one of several instances serve: a lease in the database. The others do not listen.
//!
//! Limits: bodies of 16 MiB, 2,048 bytes for a text of a route, 512 subscriptions.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod component;
mod config;
mod error;
mod http;
mod hub;
pub mod job;
mod leader;
mod metrics;
mod own_route;
mod ports;
mod routes;
mod server;
mod store;
mod validate;

pub use config::{Config, RawConfig, RawLimits, RawLock, RawOwnRoute, RawRouterGroup};
pub use error::Error;
pub use server::Server;
