//! A whole stack on one machine, as `weir up` starts, supervises and stops it.
//!
//! ```text
//! Plan        ports, certificates, token, one configuration file per component
//!   ├─ Embedded   every component of the table in this process
//!   └─ Separate   every component `weir <component> --config DIR/config/<component>.toml`, restarted when it dies
//! ready       an envelope passes through the whole pipeline
//! Counts      one line per second from the ledgers
//! ```

pub(crate) mod config;
mod embedded;
mod fit;
pub(crate) mod hosted;
pub(crate) mod observe;
mod plan;
mod ports;
mod processes;
mod ready;
mod separate;
mod status;

use std::sync::Arc;
use std::time::Duration;

use weir_flow::Ledger;

pub(crate) use plan::Plan;
pub(crate) use ports::{Choice as PortChoice, Ports};
pub(crate) use status::{Counts, StatusLine};

use crate::failure::Failure;
use embedded::Embedded;
use separate::{Separate, Starts};

/// A running stack.
#[derive(Debug)]
pub(crate) enum Stack {
    Embedded(Embedded),
    Separate(Box<Separate>),
}

/// An event while a stack runs.
#[derive(Debug)]
pub(crate) enum Event {
    /// A remark for the user.
    Note(String),
    /// A process was started; `again` is true for a restart.
    Started {
        component: &'static str,
        pid: u32,
        again: bool,
    },
    /// A process died. `failure` is reported if the stack did not serve yet.
    Died {
        component: &'static str,
        how: String,
        again_in: Duration,
        failure: Option<Failure>,
    },
    /// A component failed and the stack must stop.
    Fatal(Failure),
}

impl Stack {
    /// Starts all components and waits until the stack serves. On failure, all that was started is stopped.
    pub(crate) async fn start(plan: &Plan, processes: bool) -> Result<Self, Failure> {
        for misfit in fit::misfits(plan) {
            tracing::warn!(misfit, "limits do not fit together");
        }
        let (mut stack, starts) = if processes {
            let (separate, starts) = Separate::prepare(plan)?;
            (Self::Separate(Box::new(separate)), starts)
        } else {
            (Self::Embedded(Embedded::start(plan).await?), Starts::new())
        };
        let mut ready = Box::pin(ready::ready(plan, starts));
        let result = loop {
            tokio::select! {
                result = &mut ready => break result,
                // A component that fails ends the start at once, not at the deadline of `ready`.
                event = stack.next() => match event {
                    Event::Fatal(failure) | Event::Died { failure: Some(failure), .. } => break Err(failure),
                    // A process that is restarted meanwhile may still be ready in time.
                    Event::Note(_) | Event::Started { .. } | Event::Died { .. } => {}
                },
            }
        };
        match result {
            Ok(()) => Ok(stack),
            Err(failure) => {
                stack.stop(|_, _| {}).await;
                Err(failure)
            }
        }
    }

    /// Returns the process id of each component.
    pub(crate) fn pids(&self) -> Vec<(&'static str, u32)> {
        match self {
            Self::Embedded(stack) => stack.pids(),
            Self::Separate(stack) => stack.pids(),
        }
    }

    /// Returns the sums over the ledgers of all components.
    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::Embedded(stack) => stack.counts(),
            Self::Separate(stack) => stack.counts(),
        }
    }

    /// Returns the ledgers of components in this process. Separate processes report their own losses.
    pub(crate) fn ledgers(&self) -> Vec<Arc<Ledger>> {
        match self {
            Self::Embedded(stack) => stack.ledgers(),
            Self::Separate(_) => Vec::new(),
        }
    }

    /// Waits for the next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> Event {
        match self {
            Self::Embedded(stack) => stack.next().await,
            Self::Separate(stack) => stack.next().await,
        }
    }

    /// Stops each component after those that need it, and calls `say` with its name and the time that it took. Returns the
    /// failures and the final counts.
    pub(crate) async fn stop(self, say: impl FnMut(&str, Duration)) -> (Vec<Failure>, Counts) {
        match self {
            Self::Embedded(stack) => stack.stop(say).await,
            Self::Separate(stack) => stack.stop(say).await,
        }
    }
}
