//! The syslog agent: each app's envelopes to its drains.
//!
//! ```text
//! producers ─gRPC─▶ Ingress ─▶ Router ─▶ Drain (queue, task, backlog) ─▶ syslog, syslog-tls, https, https-batch
//!                                ▲          └─▶ Teller ─▶ the app's own log, drain_status
//! binding cache ─mTLS─▶ Lists ─▶ Manager
//! ```
//!
//! - In: `loggregator.v2.Ingress` over mTLS, server name `metron`, messages up to 10 MiB; acknowledged when a producer of
//!   ours asks for it.
//! - [`routing`]: by source id, filtered by each binding's URL; aggregate drains get everything they want.
//! - [`drain`]: one queue, one task, one trust store and one budget for each binding. What a drain that is away or slow
//!   cannot take goes to disk ([`spill`]) and comes back in order.
//! - [`bindings`]: from the binding cache, as soon as they change; from the operator; from the last time.
//! - [`telling`]: developers read in their app's log what is wrong with its drains. `GET /v1/drains` shows all of them.
//!
//! **What is counted.** `received` counts each envelope once, when it came in. An envelope may be wanted by no drain or by
//! several: metric `ingress{scope=all_drains}` counts it once for each drain that it was given to, and from there on the
//! law holds for each binding and in sum: given to drains (and found on disk at the start) = `sent` + `dropped{egress}` +
//! in flight. An envelope that no drain wants is no loss. `sent` counts what need never be sent again: answered by an HTTP
//! drain, or out of the resend window of a TCP drain. In flight is what waits in memory and on disk, and that window.
//!
//! | Lost | When | Counter (`syslog-agent hop: reason`) |
//! |---|---|---|
//! | malformed | bytes that are no envelope | `ingress: malformed` |
//! | backlog full | the drain was away or slow for longer than its budget on disk lasts: the oldest go | `egress: spill_full` |
//! | no disk | the disk cannot be written or read, and memory is full: the oldest go | `egress: spill_failed` |
//! | memory full | lines come faster than the disk takes them: the oldest go | `egress: buffer_full` |
//! | refused | the drain answers that it will never take it | `egress: rejected` |
//! | no form | the envelope cannot be written as RFC 5424 | `egress: unconvertible` |
//! | unbound | the binding was removed and what waited did not leave in time | `egress: consumer_gone` |
//! | stopped | the agent stopped and the disk could not be written to | `egress: shutting_down` |
//!
//! **Twice.** TCP acknowledges nothing: after a connection broke, what was written during its last moments (the
//! transport's window) is sent again. A killed agent repeats what was settled after the cursor was last written, a quarter
//! of a second.

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
mod metrics;
mod registry;
mod routing;
mod server;
mod spill;
mod status;
mod telling;

pub use config::{Config, DOCS, RawAggregate, RawCache, RawConfig, RawDrains, RawMemory, RawSpill};
pub use error::Error;
pub use server::Server;
