//! The binding cache: which apps drain where, for the syslog agents of all machines.
//!
//! ```text
//! cloud controller, feed v5 ─mTLS, pages─▶ Feed ─┐                       ┌▶ GET /v2/bindings   ─mTLS─▶ syslog agents
//! static drains (`weir drain add`) ──▶ FileWatch ┼▶ Keeper: check, merge ┼▶ GET /v2/aggregate  ETag, long poll
//! aggregate drains file ─────────────▶ FileWatch ┘          │            └▶ GET /v1/status
//!                                                           └▶ Warnings ─gRPC─▶ agent: LGR lines to the bound apps
//! ```
//!
//! - [`feed`]: reads the list of the cloud controller whole, or not at all; every request and the whole poll have a
//!   deadline; pages overlap, so that nothing is skipped while bindings change.
//! - [`statics`]: the drains that an operator added by hand, also for the command that adds them.
//! - [`aggregate`]: the drains that get everything.
//! - [`check`]: what is wrong with a drain, in the contract's words; names and forbidden addresses in [`addresses`].
//! - [`warnings`]: tells the apps, on a change and then every ten minutes.
//! - [`http`]: the face towards the agents.
//!
//! **Nothing is forgotten.** Whatever cannot be read keeps its last good content, and the status says since when; as long
//! as a source was never read, `/v2/bindings` answers 503, so that an agent never takes a beginning for an empty list. A drain
//! whose name has no address right now stays in the list, unlike in the original: it is away, not gone, and its lines wait.
//!
//! Matches the syslog binding cache of loggregator-agent-release. URLs and keys pass through here: none gets into a log.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod addresses;
mod aggregate;
mod check;
mod component;
mod config;
mod error;
mod feed;
mod http;
mod keeper;
mod list;
mod metrics;
mod server;
pub mod statics;
pub mod status;
mod warnings;
mod watch;

pub use config::{Config, DOCS, RawApi, RawConfig};
pub use error::Error;
pub use server::Server;
