//! The life cycle of a component: named tasks, health, ordered shutdown, and the clock.
//!
//! A component gets one [`Context`]. It spawns its work on [`Tasks`], reports its state on [`Health`], reads the time
//! from a [`clock::Clock`], and stops when [`Shutdown`] is requested. A shutdown has an order: stop accepting, empty
//! the queues, close the egress, flush, and then [`Tasks::join`] with a deadline, which names the tasks that are late
//! and aborts them.
//!
//! Invariants: every failed task is noticed (a panic is a failure of the component and starts its shutdown), and
//! nothing waits for ever.

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

/// Re-exported for [`limited!`], which names it in the crates that use the macro.
#[doc(hidden)]
pub use tracing;
