//! The binding cache tells the syslog agents of all machines which apps have which syslog drains.
//!
//! ```text
//! cloud controller, feed v5 ─mTLS, pages─▶ Feed ─┐                       ┌▶ GET /v2/bindings   ─mTLS─▶ syslog agents
//! static drains (`weir drain add`) ──▶ FileWatch ┼▶ Keeper: check, merge ┼▶ GET /v2/aggregate  ETag, long poll
//! aggregate drains file ─────────────▶ FileWatch ┘          │            └▶ GET /v1/status
//!                                                           └▶ Warnings ─gRPC─▶ agent: LGR lines to the bound apps
//! ```
//!
//! - [`feed`] reads the list of the cloud controller completely or not at all. Each request and the whole poll have a
//!   deadline. Pages overlap, so that no drain is skipped while bindings change.
//! - [`statics`] are the drains that an operator added. The command that adds them uses this module too.
//! - [`aggregate`] are the drains that get the envelopes of all apps.
//! - [`check`] finds what is wrong with a drain, in the words of the contract; [`addresses`] checks names and
//!   addresses.
//! - [`warnings`] tells the apps about problems, at once and then every ten minutes.
//! - [`http`] is the interface for the agents.
//!
//! **Old lists stay in force.** If a source cannot be read, its last list is kept, and the status says since when.
//! While a source was never read, `/v2/bindings` answers 503, so that an agent never takes an incomplete list for an
//! empty one. A drain whose name has no address stays in the list, unlike in the original: it may only be down, and its
//! lines wait.
//!
//! This crate corresponds to the syslog binding cache of loggregator-agent-release. It handles URLs and keys with
//! secrets, and none of them may appear in a log.

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

pub use config::{Config, RawApi, RawConfig};
pub use server::Server;
pub use weir_net::ServerError as Error;
