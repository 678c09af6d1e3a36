//! The way from an [`Outbox`] to the agent, in the background.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use weir_error::ErrorKind;
use weir_flow::Ledger;
use weir_rpc::producer::{Pace, Producer, Report};
use weir_service::{Health, Shutdown, Tasks};

use super::{Outbox, Stack};
use crate::background::background;
use crate::failure::Failure;
use crate::terminal::thousands;

/// A restart of the agent is waited for; the outbox bounds what gathers meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// A producer for the stack's agent.
pub(crate) async fn producer(stack: &Stack) -> Result<Producer, Failure> {
    let target = stack.agent()?;
    // Said at once rather than after our patience.
    TcpStream::connect(&target.address).await.map_err(|error| {
        Failure::new(
            ErrorKind::Unavailable,
            format!("agent at `{}`: {error}", target.address),
        )
        .with_hint("is the stack well? `weir doctor` looks")
    })?;
    let (trigger, _) = Shutdown::new();
    let tasks = Tasks::new(trigger, Health::new());
    Ok(Producer::new(
        &target,
        Ledger::in_memory("cli"),
        &tasks,
        Pace {
            patience: PATIENCE,
            ..Pace::default()
        },
    ))
}

/// Lines being shipped.
#[derive(Debug)]
pub(crate) struct Shipping {
    outbox: Arc<Outbox>,
    known: Arc<Mutex<Known>>,
    task: JoinHandle<()>,
}

/// What the background knows of the fate of lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Known {
    report: Report,
    /// Lines of batches that could not be sent at all.
    unsent: u64,
    untaken: u64,
}

impl Shipping {
    /// Begins; an agent that cannot be reached now is an error.
    pub(crate) async fn start(stack: &Stack, outbox: Arc<Outbox>) -> Result<Self, Failure> {
        let producer = producer(stack).await?;
        let known = Arc::new(Mutex::new(Known::default()));
        let task = background(ship(producer, Arc::clone(&outbox), Arc::clone(&known)));
        Ok(Self { outbox, known, task })
    }

    /// Closes the outbox and waits until everything was taken; gives up when nothing moves for as long as `patience`.
    pub(crate) async fn finish(mut self, patience: Duration) -> Fate {
        self.outbox.close();
        let mut moved = *self.known.lock();
        let in_time = loop {
            if tokio::time::timeout(patience, &mut self.task).await.is_ok() {
                break true;
            }
            let now = *self.known.lock();
            if now == moved {
                break false;
            }
            moved = now;
        };
        self.task.abort();
        let known = *self.known.lock();
        let (lines, overflowed) = self.outbox.counts();
        let sent = known.report.sent + known.unsent;
        let waiting = lines.saturating_sub(overflowed).saturating_sub(sent);
        let undecided = if in_time { 0 } else { waiting + known.untaken };
        Fate {
            lines,
            overflowed,
            undecided,
            lost: known.report.lost + known.unsent,
        }
    }
}

async fn ship(mut producer: Producer, outbox: Arc<Outbox>, known: Arc<Mutex<Known>>) {
    while let Some(batch) = outbox.take().await {
        let count = batch.len() as u64;
        let failed = producer.send(batch).await.is_err();
        let mut known = known.lock();
        known.report = producer.report();
        known.untaken = producer.untaken();
        if failed {
            known.unsent += count;
        }
    }
    // A failure leaves what was on the way as it is known by then.
    drop(producer.flush().await);
    let mut known = known.lock();
    known.report = producer.report();
    known.untaken = producer.untaken();
}

/// What became of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    /// All of them.
    pub(crate) lines: u64,
    /// Did not fit into the outbox.
    pub(crate) overflowed: u64,
    /// Not heard of in time.
    pub(crate) undecided: u64,
    /// Dropped by the pipeline, or on their way to an agent that vanished.
    pub(crate) lost: u64,
}

impl Fate {
    /// What to say of lines that may not have arrived; nothing if all did.
    pub(crate) fn losses(&self) -> Option<String> {
        let reasons = [
            (self.overflowed, "came faster than the pipeline took them"),
            (self.lost, "were lost on the way"),
            (self.undecided, "were not acknowledged in time"),
        ];
        let missing: u64 = reasons.iter().map(|(count, _)| count).sum();
        if missing == 0 {
            return None;
        }
        let reasons: Vec<String> = reasons
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, reason)| format!("{} {reason}", thousands(*count)))
            .collect();
        Some(format!(
            "{} of {} lines may be missing: {}",
            thousands(missing),
            thousands(self.lines),
            reasons.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_when_all_arrived() {
        assert_eq!(
            Fate {
                lines: 10,
                overflowed: 0,
                undecided: 0,
                lost: 0
            }
            .losses(),
            None
        );
    }

    #[test]
    fn losses_are_said_with_their_reason() {
        let fate = Fate {
            lines: 12_000,
            overflowed: 1_000,
            undecided: 0,
            lost: 5,
        };
        assert_eq!(
            fate.losses().as_deref(),
            Some(
                "1,005 of 12,000 lines may be missing: 1,000 came faster than the pipeline took them, 5 were lost on the way"
            )
        );
    }
}
