//! Every component as a process of its own, supervised.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir_service::{Shutdown, Trigger, clock};

use super::processes::{Happening, Program, died_early, supervise, this_executable};
use super::{Component, Counts, Event, Plan};
use crate::background::background;
use crate::failure::Failure;

/// Between the supervisors and the foreground.
const HAPPENINGS: usize = 64;

/// The supervised processes, in the order in which they were started.
#[derive(Debug)]
pub(crate) struct Separate {
    plan: Plan,
    children: Vec<Supervised>,
    happenings: mpsc::Receiver<Happening>,
    pids: BTreeMap<Component, u32>,
}

#[derive(Debug)]
struct Supervised {
    program: Program,
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Separate {
    /// Starts all processes. Whether they serve is another question, see [`Separate::next`].
    pub(crate) fn start(plan: &Plan) -> Result<Self, Failure> {
        let executable = this_executable()?;
        let (sender, happenings) = mpsc::channel(HAPPENINGS);
        let mut children = Vec::new();
        for component in Component::IN_ORDER {
            let program = Program {
                component,
                executable: executable.clone(),
                arguments: plan.arguments(component),
                log: plan.state.log_of(component.name()),
            };
            let (trigger, stop) = Shutdown::new();
            let task = background(supervise(program.clone(), stop, sender.clone()));
            children.push(Supervised { program, trigger, task });
        }
        Ok(Self {
            plan: plan.clone(),
            children,
            happenings,
            pids: BTreeMap::new(),
        })
    }

    pub(crate) fn pids(&self) -> Vec<(Component, u32)> {
        self.pids.iter().map(|(component, pid)| (*component, *pid)).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::read(&self.plan.state.ledger())
    }

    /// Waits for something to happen. Cancel safe.
    pub(crate) async fn next(&mut self) -> Event {
        match self.happenings.recv().await {
            Some(happening) => self.heard(happening),
            None => std::future::pending().await,
        }
    }

    fn heard(&mut self, happening: Happening) -> Event {
        match happening {
            Happening::Started { component, pid } => {
                let again = self.pids.insert(component, pid).is_some();
                Event::Started { component, pid, again }
            }
            Happening::Died {
                component,
                how,
                again_in,
            } => {
                let early = self.children.iter().find(|child| child.program.component == component);
                let failure = early.map(|child| died_early(&child.program, &how));
                Event::Died {
                    component,
                    how,
                    again_in,
                    failure,
                }
            }
            Happening::Trouble { component, what } => Event::Note(format!("{component}: {what}")),
        }
    }

    /// Stops along the way of an envelope, each process only after those that feed it.
    pub(crate) async fn stop(mut self, mut say: impl FnMut(Component, Duration)) -> (Vec<Failure>, Counts) {
        let mut failures = Vec::new();
        while let Some(Supervised {
            program,
            trigger,
            mut task,
        }) = self.children.pop()
        {
            let started = clock::instant();
            trigger.fire();
            loop {
                tokio::select! {
                    // What happens is read on, so that no supervisor waits to be heard.
                    happening = self.happenings.recv() => if let Some(Happening::Trouble { component, what }) = happening {
                        failures.push(Failure::new(weir_error::ErrorKind::Internal, format!("{component}: {what}")));
                    },
                    _ = &mut task => break,
                }
            }
            say(program.component, clock::instant().duration_since(started));
        }
        (failures, self.counts())
    }
}
