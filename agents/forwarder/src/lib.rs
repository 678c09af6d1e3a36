//! The forwarder agent: the first hop of a machine. Every envelope goes to every agent that is downstream of it.
//!
//! ```text
//!                                  ┌▶ Buffer ─acknowledged link─▶ loggregator agent
//! producers ─gRPC─▶ rewrite ─▶ Fan ┼▶ Buffer ─acknowledged link─▶ syslog agent
//!                                  └▶ …
//! ```
//!
//! - In: `loggregator.v2.Ingress` over mTLS, server name `metron` ([`weir_agents_lib::Face`]).
//! - Default tags, identity and counter totals (logging §7), once for all downstreams. A batch that needs none of it is
//!   passed as the bytes it came in; one that does is copied once. All downstreams share the same bytes.
//! - Each downstream has a bounded, fair buffer and a link of its own. One that is away loses its own oldest, counted at the
//!   hop `egress NAME`, and holds up nobody else.
//! - Downstreams are the ones of the configuration, and those that the job files of this machine name ([`downstream`]), read
//!   once at the start as the original does.
//!
//! **Receipts.** A producer's batch is *taken* once every downstream that acknowledges has said so. A downstream that has
//! been away for longer than `patience` is no longer waited for; what it then loses is counted all the same.
//!
//! **Books.** `received` counts an envelope once, `sent` once for each downstream, as at the doppler. For each downstream:
//! `received = sent + dropped{egress NAME} + in flight + waiting`. Matches the forwarder agent of loggregator-agent-release,
//! without OTLP.

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
pub mod downstream;
mod error;
mod fan;
mod glob;
mod metrics;
mod server;

pub use config::{Config, DOCS, RawConfig};
pub use error::Error;
pub use server::Server;
