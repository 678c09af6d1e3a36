//! The names proxy leads the names below the domain of a stack to its router, where no DNS knows them.
//!
//! ```text
//! https_proxy=http://127.0.0.1:3128 ─▶ Connections ─┬─ CONNECT uaa.weir.localhost:443 ─▶ tunnel ──▶ router, HTTPS port
//!   curl, cf CLI, nozzles                           ├─ GET http://app.weir.localhost/ ─▶ forward ─▶ router, HTTP port
//!                                                   └─ other hosts, from loopback only ───────────▶ where they are
//! ```
//!
//! - `way` decides where a host and a port lead, and what is refused.
//! - `tunnel` connects both ends of a CONNECT; `forward` passes one request without TLS on.
//!
//! Limits: the connections of the port, 64 KiB for the head of a request, 60 s for a head to arrive, 10 s to connect.
//! Bodies and tunnels are not buffered. The proxy keeps nothing, and stops with everything that runs through it.

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
mod forward;
mod server;
mod tunnel;
mod way;

pub use config::{Config, RawConfig};
pub use server::Server;
pub use weir_net::ServerError as Error;
