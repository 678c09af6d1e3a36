//! One component as a part of this process: bound, running, stopped in order.

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

/// A component that has not drained by then is cut.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// Ledgers are written before acknowledgements leave; in quiet times they are written this often, for those who look.
const LEDGER_INTERVAL: Duration = Duration::from_secs(1);

/// A component whose ports are open; connections wait until it runs.
pub(crate) struct Bound {
    component: &'static str,
    trigger: Trigger,
    context: LogContext,
    run: Run,
}

/// A component at work.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) component: &'static str,
    trigger: Trigger,
    context: LogContext,
    /// `None` once its end was seen.
    task: Option<JoinHandle<Result<(), weir_component::Error>>>,
}

impl Bound {
    /// Opens the ports of `component`; its ledger lies in `ledgers`, if anywhere.
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

    /// Lets it work.
    pub(crate) fn start(self) -> Hosted {
        let Self {
            component,
            trigger,
            context,
            run,
        } = self;
        let span = context.span();
        let keeping = keep_ledger(context.clone());
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
    /// Its counts as they are now.
    pub(crate) fn counts(&self) -> LedgerSnapshot {
        self.context.ledger.snapshot()
    }

    /// Its ledger, which outlives it.
    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.context.ledger)
    }

    /// Waits until it ends by itself, which is always a failure. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Failure {
        let component = self.component;
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let ended = task.await;
        self.task = None;
        match ended {
            Ok(Err(error)) => error.into(),
            // A task of it failed and took it along: the list of tasks knows which.
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

    /// Stops it: no more is accepted, what it holds is handed on, its tasks end, its ledger is written.
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
        // Its tasks and its ledger come to their end in any case.
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
