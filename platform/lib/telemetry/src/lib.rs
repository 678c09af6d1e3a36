//! Ships tracing and OpenTelemetry data as envelopes through Weir's own pipeline.
//!
//! ```text
//! tracing events ──┬─▶ stderr (for people, or JSON)
//!                  └─▶ log envelopes ───┐
//! spans ─────────────▶ timer envelopes ─┼─▶ Outbox ─▶ whoever ships it to an agent
//! meters ────────────▶ counters, gauges ┘
//! ```
//!
//! [`init()`] installs everything, and `weir_service::Context::meter` gives a component its instruments. The [`Outbox`]
//! is bounded and fair to the components that share it, and its losses are reported in a counter `dropped`. Producing
//! telemetry never waits.
//!
//! The component of an event or a span comes from the span field `component` (see `weir_service::Context::span`), or
//! else from the process. What happens while telemetry is shipped is not shipped: see [`quiet()`]. Fields whose names
//! are those of secrets are redacted everywhere. Text of others, such as the error of a peer, is made [`neutral`]
//! wherever people read it.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod capture;
mod event;
mod format;
mod identity;
mod init;
mod ledger_metrics;
mod library;
mod log_file;
mod metrics;
mod neutral;
mod outbox;
mod owner;
mod quiet;
mod record;
mod spans;

pub use event::event;
pub use format::Format;
pub use identity::Identity;
pub use init::{InitError, Options, Telemetry, init};
pub use ledger_metrics::observe_ledger;
pub use log_file::{LOG_FILE_BYTES, set_full_log_aside};
pub use metrics::NAME_PREFIX;
pub use neutral::{Neutralizer, neutral, neutral_rows};
pub use outbox::{Outbox, Shipment};
pub use quiet::quiet;
