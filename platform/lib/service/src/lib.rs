//! Life cycle: named tasks, health, ordered shutdown, the clock.
//!
//! A component gets one [`Context`] and does everything that outlives a call through it: it spawns on [`Tasks`], says how
//! it is doing on [`Health`], reads the time from a [`clock::Clock`], and stops when [`Shutdown`] says so. Shutdown is an
//! order, not an event: stop accepting, drain, close egress, flush, then [`Tasks::join`] with a deadline, which names
//! whoever is late and ends them.
//!
//! Invariants: no task dies unseen (a panic is an error of the component and starts its shutdown); nobody waits for ever.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

pub mod clock;
mod context;
pub mod health;
mod limit;
mod panic;
mod shutdown;
mod signals;
mod tasks;

pub use clock::{Clock, ManualClock};
pub use context::{COMPONENT_SPAN_TARGET, Context};
pub use health::{Health, Part, State};
pub use limit::{EACH_SECOND, RateLimit, lines_swallowed};
pub use shutdown::{Shutdown, Trigger};
pub use signals::{Signal, Signals, wait_for_signals};
pub use tasks::{Failure, Guard, Tasks, TasksError};

/// For [`limited!`], which must find it wherever it is used.
#[doc(hidden)]
pub use tracing;
