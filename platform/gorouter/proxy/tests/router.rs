//! A router in front of backends that speak plain bytes, asked by clients that do: what reaches whom is what is compared.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::panic,
    reason = "tests spawn, wait and ask for the time as they like"
)]

#[path = "router/access_log.rs"]
mod access_log;
#[path = "router/backend.rs"]
mod backend;
#[path = "router/client.rs"]
mod client;
#[path = "router/forwarding.rs"]
mod forwarding;
#[path = "router/harness.rs"]
mod harness;
#[path = "router/headers.rs"]
mod headers;
#[path = "router/http2.rs"]
mod http2;
#[path = "router/limits.rs"]
mod limits;
#[path = "router/operation.rs"]
mod operation;
#[path = "router/protocols.rs"]
mod protocols;
#[path = "router/registrations.rs"]
mod registrations;
#[path = "router/retries.rs"]
mod retries;
#[path = "router/route_services.rs"]
mod route_services;
#[path = "router/tls.rs"]
mod tls;
