//! How envelopes move inside a component without getting lost unseen.
//!
//! - [`FairQueue`]: bounded in envelopes and in bytes; when it overflows, the source that fills it loses its oldest.
//! - [`Receipt`]: travels with every batch; when its last clone is gone, the sender upstream may be told that the batch
//!   was handed on.
//! - [`Ledger`]: what a component received, sent and dropped, by hop and reason, kept on file so that a kill cannot
//!   erase it. A component finds it in its [`LogContext`].
//! - [`Turns`]: who asks much waits for itself and not for others.
//!
//! The law that the first three keep together: `received = sent + dropped{reason} + in flight`, at every hop.

mod context;
mod ledger;
mod parcel;
mod queue;
mod reason;
mod receipt;
pub mod told;
mod turns;

pub use context::LogContext;
pub use ledger::{DropCount, Ledger, LedgerSnapshot, LossReport, Mark};
pub use parcel::Parcel;
pub use queue::{Capacity, FairQueue, Loss};
pub use reason::Reason;
pub use receipt::{Progress, Receipt, Tracker};
pub use turns::{Busy, Turn, Turns};
