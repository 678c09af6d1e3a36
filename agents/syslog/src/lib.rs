//! The syslog agent delivers each app's envelopes to its syslog drains.
//!
//! ```text
//! producers ─gRPC─▶ Ingress ─▶ Router ─▶ Drain (queue, task, backlog) ─▶ syslog, syslog-tls, https, https-batch
//!                                ▲          └─▶ Reporter ─▶ the app's own log, drain_status
//! binding cache ─mTLS─▶ Lists ─▶ Manager
//! ```
//!
//! - The agent serves `loggregator.v2.Ingress` over mTLS under the server name `metron`, with messages of up to 10 MiB.
//!   It acknowledges envelopes if the producer asks for it.
//! - [`routing`] finds the drains of each envelope by its source id, and filters by the parameters of each drain URL.
//!   Aggregate drains get the envelopes of all sources.
//! - [`drain`] gives each binding its own queue, task, trust store and budgets. Envelopes that a slow or absent drain
//!   cannot take go to disk ([`spill`]) and come back in order.
//! - [`bindings`] follows the lists of the binding cache and of the operator, and saves the last ones.
//! - [`reporting`] writes into the app's log what is wrong with its drains. `GET /v1/drains` ([`http`]) shows all of
//!   them.
//!
//! **What is counted.** `received` counts each envelope once. An envelope may be wanted by no drain or by several, so
//! the metric `ingress{scope=all_drains}` counts it once for each drain that it was given to. From there on the law
//! holds for each binding and for their sum: given to drains, plus found on disk at the start = `sent` +
//! `dropped{egress}` + in flight. An envelope that no drain wants is not a loss. `sent` counts envelopes that will
//! never be sent again, because an HTTP drain acknowledged them, or because they left the resend window of a TCP drain.
//! In flight are the envelopes in memory, on disk and in that window.
//!
//! | Lost | When | Counter (`syslog-agent hop: reason`) |
//! |---|---|---|
//! | malformed | the bytes are not an envelope | `ingress: malformed` |
//! | backlog full | the drain was down or slow for longer than its budget on disk lasts; the oldest are lost | `egress: spill_full` |
//! | no disk | the disk cannot be written or read and memory is full; the oldest are lost | `egress: spill_failed` |
//! | memory full | envelopes arrive faster than the disk accepts them; the oldest are lost | `egress: buffer_full` |
//! | refused | the drain refuses them for good, or ends its connections at them and keeps others | `egress: rejected` |
//! | no syslog form | the envelope cannot be written as RFC 5424 | `egress: unconvertible` |
//! | unbound | the binding was removed, and the rest could not be delivered in time | `egress: consumer_gone` |
//! | stopped | the agent stopped, and the disk could not be written to | `egress: shutting_down` |
//!
//! **Duplicates.** TCP does not acknowledge messages. After a connection broke, what was written in its last moments
//! (the transport's resend window) is sent again. A killed agent also repeats what was settled after the cursor was
//! last written, which is at most a quarter of a second.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod bindings;
mod component;
mod config;
mod drain;
mod error;
mod http;
mod metrics;
mod registry;
mod reporting;
mod routing;
mod server;
mod spill;
mod status;

pub use config::{Config, RawAggregate, RawCache, RawConfig, RawDrains, RawMemory, RawSpill};
pub use error::Error;
pub use server::Server;
