//! Every component as a separate, supervised process.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::OptionFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use weir_component::Direction;
use weir_service::{Shutdown, Trigger, clock};

use super::processes::{ProcessEvent, Program, died_early, supervise, this_executable};
use super::{Counts, Event, Plan};
use crate::background::background;
use crate::components::Entry;
use crate::failure::Failure;

/// The greatest number of events that wait between the supervisors and the foreground. A full queue delays supervisors only.
const EVENTS_QUEUED: usize = 64;

/// A sender for each component that starts its process. A process whose sender is dropped is never started.
pub(crate) type Starts = BTreeMap<&'static str, oneshot::Sender<()>>;

/// The supervised processes.
#[derive(Debug)]
pub(crate) struct Separate {
    plan: Plan,
    children: BTreeMap<&'static str, Supervised>,
    events: mpsc::Receiver<ProcessEvent>,
    pids: BTreeMap<&'static str, u32>,
}

#[derive(Debug)]
struct Supervised {
    program: Program,
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Separate {
    /// Prepares all processes. Each is started by its sender in [`Starts`], and then need not serve yet.
    pub(crate) fn prepare(plan: &Plan) -> Result<(Self, Starts), Failure> {
        let executable = this_executable()?;
        let (sender, events) = mpsc::channel(EVENTS_QUEUED);
        let (mut children, mut starts) = (BTreeMap::new(), Starts::new());
        for component in plan.components.iter().map(Entry::name) {
            let program = Program {
                component,
                executable: executable.clone(),
                arguments: plan.arguments(component)?,
                log: plan.state.log_of(component),
            };
            let (trigger, stop) = Shutdown::new();
            let (start, started) = oneshot::channel();
            let supervised = {
                let (program, sender) = (program.clone(), sender.clone());
                async move {
                    if let Some(Ok(())) = stop.unless_requested(started).await {
                        supervise(program, stop, sender).await;
                    }
                }
            };
            let task = background(supervised);
            starts.insert(component, start);
            children.insert(component, Supervised { program, trigger, task });
        }
        let separate = Self {
            plan: plan.clone(),
            children,
            events,
            pids: BTreeMap::new(),
        };
        Ok((separate, starts))
    }

    pub(crate) fn pids(&self) -> Vec<(&'static str, u32)> {
        self.pids.iter().map(|(component, pid)| (*component, *pid)).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::read(&self.plan.state.ledger())
    }

    /// Waits for the next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => self.event_of(event),
            None => std::future::pending().await,
        }
    }

    fn event_of(&mut self, event: ProcessEvent) -> Event {
        match event {
            ProcessEvent::Started { component, pid } => {
                let again = self.pids.insert(component, pid).is_some();
                Event::Started { component, pid, again }
            }
            ProcessEvent::Died {
                component,
                how,
                again_in,
            } => {
                let early = self.children.get(component);
                let failure = early.map(|child| died_early(&child.program, &how));
                Event::Died {
                    component,
                    how,
                    again_in,
                    failure,
                }
            }
            ProcessEvent::Trouble { component, what } => Event::Note(format!("{component}: {what}")),
        }
    }

    /// Stops each process after those that need it. Returns the failures and the final counts.
    pub(crate) async fn stop(mut self, mut say: impl FnMut(&str, Duration)) -> (Vec<Failure>, Counts) {
        let mut failures = Vec::new();
        let stop = |component: &Entry| OptionFuture::from(self.children.remove(component.name()).map(stop_timed));
        let mut stopping = self.plan.components.walk(Direction::Stop, stop);
        loop {
            tokio::select! {
                // A supervisor whose event finds a full queue would wait here and not stop its child.
                event = self.events.recv() => if let Some(ProcessEvent::Trouble { component, what }) = event {
                    failures.push(Failure::new(weir_error::ErrorKind::Internal, format!("{component}: {what}")));
                },
                stopped = stopping.next() => match stopped {
                    Some((component, took)) => say(component.name(), took.unwrap_or_default()),
                    None => break,
                },
            }
        }
        drop(stopping);
        (failures, self.counts())
    }
}

/// Stops a process. Returns the time that it took.
async fn stop_timed(Supervised { trigger, task, .. }: Supervised) -> Duration {
    let started = clock::instant();
    trigger.fire();
    // A supervisor that panicked has stopped as well: its child was killed when it was dropped.
    task.await.ok();
    clock::instant().duration_since(started)
}
