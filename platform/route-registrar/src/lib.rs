//! The route registrar registers the programs of a machine with the routers, for as long as these programs are healthy.
//!
//! ```text
//! configuration: routes ───────────┐            ┌─ one task for each route ──────────┐   ┌▶ NATS: HTTP routes
//! job files of a machine (globs) ──┼▶ Registrar ┤ check, then register or unregister ├───┤
//! routes.json (`weir route add`) ──┘            └────────────────────────────────────┘   └▶ routing API: TCP routes
//!                                       └▶ GET /v1/routes ─mTLS─▶ `weir route`
//! ```
//!
//! - [`route`] is a route as it is written, and what is allowed in it; `check` asks its program whether it is healthy.
//! - [`files`] finds routes in files that come, change and go while the registrar runs.
//! - `registrar` compares the routes that are wanted with those that are kept, and `keeping` keeps one of them.
//! - `announce` sends registrations. A registration that cannot be sent is tried again at the next interval.
//!
//! A router forgets what is not registered again, so a registrar that dies takes its routes with it. A registrar that
//! stops unregisters all of its routes. The registrar keeps nothing on disk.
//!
//! This crate corresponds to route-registrar of routing-release (compute-routing §16).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod announce;
mod check;
mod component;
mod config;
mod error;
pub mod files;
mod keeping;
mod registrar;
pub mod route;
mod server;
pub mod status;

pub use component::{INTERFACES, ROUTES_FILE};
pub use config::{Config, RawConfig};
pub use error::Error;
pub use server::Server;
