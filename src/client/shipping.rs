//! Ships the lines of an [`Outbox`] to the agent, in a background task.

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

/// How long a message waits for an agent that restarts. The outbox bounds the lines that gather meanwhile.
const AGENT_WAIT: Duration = Duration::from_secs(10);

/// Returns a producer for the stack's agent.
pub(crate) async fn producer(stack: &Stack) -> Result<Producer, Failure> {
    let target = stack.agent()?;
    // A producer retries for 10 s before it fails. An agent that does not run should be reported at once.
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
            patience: AGENT_WAIT,
            ..Pace::default()
        },
    ))
}

/// The background task that ships lines.
#[derive(Debug)]
pub(crate) struct Shipping {
    outbox: Arc<Outbox>,
    progress: Arc<Mutex<Progress>>,
    task: JoinHandle<()>,
}

/// The counts of the background task.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Progress {
    report: Report,
    /// The number of lines in batches that could not be sent.
    unsent: u64,
    /// The number of lines that were sent and are not acknowledged.
    on_the_way: u64,
}

impl Shipping {
    /// Starts to ship the lines of an outbox. Fails if the agent cannot be reached.
    pub(crate) async fn start(stack: &Stack, outbox: Arc<Outbox>) -> Result<Self, Failure> {
        let producer = producer(stack).await?;
        let progress = Arc::new(Mutex::new(Progress::default()));
        let task = background(ship(producer, Arc::clone(&outbox), Arc::clone(&progress)));
        Ok(Self { outbox, progress, task })
    }

    /// Closes the outbox and waits until all lines are acknowledged. Gives up if no count changes for `patience`.
    pub(crate) async fn finish(mut self, patience: Duration) -> ShippingReport {
        self.outbox.close();
        let mut moved = *self.progress.lock();
        let in_time = loop {
            if tokio::time::timeout(patience, &mut self.task).await.is_ok() {
                break true;
            }
            let now = *self.progress.lock();
            if now == moved {
                break false;
            }
            moved = now;
        };
        self.task.abort();
        let progress = *self.progress.lock();
        let (lines, overflowed) = self.outbox.counts();
        let sent = progress.report.sent + progress.unsent;
        let waiting = lines.saturating_sub(overflowed).saturating_sub(sent);
        let undecided = if in_time { 0 } else { waiting + progress.on_the_way };
        ShippingReport {
            lines,
            overflowed,
            undecided,
            lost: progress.report.lost + progress.unsent,
        }
    }
}

async fn ship(mut producer: Producer, outbox: Arc<Outbox>, progress: Arc<Mutex<Progress>>) {
    while let Some(batch) = outbox.take().await {
        let count = batch.len() as u64;
        let failed = producer.send(batch).await.is_err();
        let mut progress = progress.lock();
        progress.report = producer.report();
        progress.on_the_way = producer.untaken();
        if failed {
            progress.unsent += count;
        }
    }
    // If the flush fails, the counts of that moment are the result.
    drop(producer.flush().await);
    let mut progress = progress.lock();
    progress.report = producer.report();
    progress.on_the_way = producer.untaken();
}

/// The outcome of shipping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShippingReport {
    /// The number of lines that were offered.
    pub(crate) lines: u64,
    /// The number of lines that did not fit into the outbox.
    pub(crate) overflowed: u64,
    /// The number of lines that were not acknowledged in time.
    pub(crate) undecided: u64,
    /// The number of lines that the pipeline dropped, or that were on their way to an agent that vanished.
    pub(crate) lost: u64,
}

impl ShippingReport {
    /// Returns the text about lines that may not have arrived; `None` if all did.
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

    /// No text is shown if all lines arrived.
    #[test]
    fn nothing_is_said_when_all_arrived() {
        assert_eq!(
            ShippingReport {
                lines: 10,
                overflowed: 0,
                undecided: 0,
                lost: 0
            }
            .losses(),
            None
        );
    }

    /// The text names each loss with its reason.
    #[test]
    fn losses_are_said_with_their_reason() {
        let report = ShippingReport {
            lines: 12_000,
            overflowed: 1_000,
            undecided: 0,
            lost: 5,
        };
        assert_eq!(
            report.losses().as_deref(),
            Some(
                "1,005 of 12,000 lines may be missing: 1,000 came faster than the pipeline took them, 5 were lost on the way"
            )
        );
    }
}
