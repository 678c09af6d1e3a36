//! The routing API from outside, over HTTPS with client certificates and signed tokens: on SQLite always, on PostgreSQL and
//! MariaDB where they are installed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::panic,
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "tests spawn, wait, ask for the time and say what must hold as they like"
)]

mod client;
mod common;
mod databases;
mod events;
mod groups;
mod hostile;
mod instances;
mod ports;
mod routes;
mod rtr;
mod scopes;
