//! One component in this process: its ports are opened, it runs, it is stopped in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::Instrument as _;
use weir_component::Run;
use weir_error::ErrorKind;
use weir_flow::{Ledger, LedgerSnapshot, LogContext};
use weir_service::Trigger;

use super::config::Loaded;
use crate::background::background;
use crate::failure::Failure;

/// How long a stopping component may drain before it is aborted.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// How often a ledger's file is refreshed. The ledger is written before each acknowledgement anyway; this interval is for
/// readers of the file while nothing is acknowledged.
const LEDGER_INTERVAL: Duration = Duration::from_secs(1);

/// A component whose ports are open. Connections wait in the kernel's queue until it runs.
pub(crate) struct Bound {
    component: &'static str,
    trigger: Trigger,
    context: LogContext,
    run: Run,
}

/// A running component.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) component: &'static str,
    trigger: Trigger,
    context: LogContext,
    /// `None` once the task has ended and its result was taken.
    task: Option<JoinHandle<Result<(), weir_component::Error>>>,
}

impl Bound {
    /// Opens the ports of `component`. Its ledger is a file in `ledgers`, or in memory without one.
    pub(crate) async fn bind(component: &'static str, loaded: Loaded, ledgers: Option<&Path>) -> Result<Self, Failure> {
        let ledger = Ledger::open(component, ledgers).map_err(|error| {
            Failure::io(
                format_args!(
                    "ledger of {component} in `{}`",
                    ledgers.unwrap_or(Path::new("")).display()
                ),
                &error,
            )
        })?;
        let (trigger, context) = LogContext::new(component, ledger);
        let span = context.span();
        let run = loaded.bind(context.clone()).instrument(span).await?;
        Ok(Self {
            component,
            trigger,
            context,
            run,
        })
    }

    /// Starts the component.
    pub(crate) fn start(self) -> Hosted {
        let Self {
            component,
            trigger,
            context,
            run,
        } = self;
        let span = context.span();
        let keeping = keep_ledger(context.clone());
        // The ledger's task takes the span that is entered now, so that its log lines name the component.
        let _entered = span.enter();
        drop(context.tasks.spawn("ledger", keeping));
        let task = background(run.instrument(span.clone()));
        Hosted {
            component,
            trigger,
            context,
            task: Some(task),
        }
    }
}

impl Hosted {
    /// Returns the present counts of the component.
    pub(crate) fn counts(&self) -> LedgerSnapshot {
        self.context.ledger.snapshot()
    }

    /// Returns the ledger, which may be read after the component has stopped.
    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.context.ledger)
    }

    /// Waits until the component ends by itself, which is always a failure. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Failure {
        let component = self.component;
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let ended = task.await;
        self.task = None;
        match ended {
            Ok(Err(error)) => error.into(),
            // One of its tasks failed and requested the stop. The list of tasks has that error.
            Ok(Ok(())) => match self.context.tasks.join(Duration::ZERO).await {
                Err(error) => Failure::from(error),
                Ok(()) => Failure::new(
                    ErrorKind::Internal,
                    format!("{component}: ended without being asked to"),
                ),
            },
            Err(error) => Failure::new(ErrorKind::Internal, format!("{component}: {error}")),
        }
    }

    /// Stops the component: it accepts nothing more, drains its queues, ends its tasks and writes its ledger.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let component = self.component;
        self.trigger.fire();
        let ran = match self.task {
            None => Ok(()),
            Some(mut task) => match tokio::time::timeout(DRAIN_DEADLINE, &mut task).await {
                Ok(Ok(result)) => result.map_err(Failure::from),
                Ok(Err(error)) => Err(Failure::new(ErrorKind::Internal, format!("{component}: {error}"))),
                Err(_) => {
                    task.abort();
                    let seconds = DRAIN_DEADLINE.as_secs();
                    Err(Failure::new(
                        ErrorKind::Timeout,
                        format!("{component}: was not drained within {seconds} s"),
                    ))
                }
            },
        };
        // Before `ran?`: the tasks must end and the ledger must be written after a failed drain as well.
        let finished = self.context.finish(DRAIN_DEADLINE).await;
        ran?;
        Ok(finished?)
    }
}

async fn keep_ledger(context: LogContext) {
    while context
        .shutdown
        .unless_requested(tokio::time::sleep(LEDGER_INTERVAL))
        .await
        .is_some()
    {
        context.ledger.refresh_file();
    }
}
