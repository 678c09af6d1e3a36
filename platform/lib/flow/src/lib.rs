//! How envelopes move through a component, so that every lost envelope is counted.
//!
//! - A [`FairQueue`] is bounded in envelopes and in bytes. When it overflows, the source that fills it loses its oldest
//!   envelopes.
//! - A [`Receipt`] travels with every batch. When its last clone is dropped, the batch may be acknowledged to its
//!   sender.
//! - A [`Ledger`] counts what a component received, sent and dropped, by hop and reason, in a file that survives a
//!   kill. A component finds its ledger in its [`LogContext`].
//! - [`loss_reports`] carries the counts of lost envelopes to the log cache.
//! - [`Turns`] shares expensive work out among callers, so that a caller with many requests does not delay the others.
//!
//! The first three together keep the law `received = sent + dropped{reason} + in flight` at every hop.

mod context;
mod ledger;
pub mod loss_reports;
mod parcel;
mod queue;
mod reason;
mod receipt;
mod turns;

pub use context::LogContext;
pub use ledger::{DropCount, Ledger, LedgerSnapshot, LossReport, Mark};
pub use parcel::Parcel;
pub use queue::{Capacity, FairQueue, Loss};
pub use reason::Reason;
pub use receipt::{Progress, Receipt, Tracker};
pub use turns::{Busy, Turn, Turns};
