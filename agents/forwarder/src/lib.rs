//! The forwarder agent is the first hop on a machine. It gives every envelope to every agent behind it.
//!
//! ```text
//!                                  ┌▶ Buffer ─acknowledged link─▶ loggregator agent
//! producers ─gRPC─▶ rewrite ─▶ Fan ┼▶ Buffer ─acknowledged link─▶ syslog agent
//!                                  └▶ …
//! ```
//!
//! - The agent serves `loggregator.v2.Ingress` over mTLS under the server name `metron`
//!   ([`weir_agents_lib::IngressPort`]).
//! - Default tags, source ids and counter totals are set once for all downstreams (logging §7). A batch that needs no
//!   change keeps its bytes, and any other is copied once. All downstreams share the same bytes.
//! - Each downstream has its own bounded, fair buffer and its own link. If it is absent for long, it loses its own
//!   oldest envelopes, counted at the hop `egress NAME`, and no other downstream is affected.
//! - Downstreams are configured, or registered by the job files of this machine ([`downstream`]). The files are read
//!   once at the start, as the original does.
//!
//! **Receipts.** A producer's batch is *taken* when every downstream that acknowledges has acknowledged it. A
//! downstream that has been absent for longer than `patience` is not waited for. What it loses is counted nevertheless.
//!
//! **What is counted.** `received` counts an envelope once, and `sent` counts it once for each downstream. For each
//! downstream: `received = sent + dropped{egress NAME} + in flight + waiting`. This crate corresponds to the forwarder
//! agent of loggregator-agent-release, without OTLP.

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

pub use config::{Config, RawConfig};
pub use error::Error;
pub use server::Server;
