//! tracing and opentelemetry, shipped into our own pipeline as envelopes.
//!
//! ```text
//! tracing events ──┬─▶ stderr (for people, or JSON)
//!                  └─▶ log envelopes ───┐
//! spans ─────────────▶ timer envelopes ─┼─▶ Outbox ─▶ whoever ships it to an agent
//! meters ────────────▶ counters, gauges ┘
//! ```
//!
//! [`init()`] installs all of it; a component gets its instruments from `weir_service::Context::meter`. The [`Outbox`] is bounded, fair to
//! the components that share it, and counts what it loses in a `dropped` counter of its own. Producing telemetry never
//! waits.
//!
//! What a component is called comes from the span field `component` (see `weir_service::Context::span`), else from the
//! process. Nothing is shipped of what happens while shipping: see [`quiet()`]. Fields named like a secret are redacted
//! everywhere. What others wrote, such as the text of a peer's error, is made [`neutral`] wherever people read it.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod books;
mod capture;
mod event;
mod format;
mod identity;
mod init;
mod library;
mod log_file;
mod metrics;
mod neutral;
mod outbox;
mod owner;
mod quiet;
mod record;
mod spans;

pub use books::observe_ledger;
pub use event::event;
pub use format::Format;
pub use identity::Identity;
pub use init::{InitError, Options, Telemetry, init};
pub use log_file::{LOG_FILE_BYTES, set_full_log_aside};
pub use neutral::{Neutralizer, neutral, neutral_rows};
pub use outbox::{Outbox, Shipment};
pub use quiet::quiet;
