//! A producer that wants to know: sends batches to an agent, waits while too much is on the way, and can say at the end
//! what became of all of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_envelope::batch::Batch;
use weir_flow::{Ledger, Parcel};
use weir_net::{Backoff, Channel, Target};
use weir_service::Tasks;

use crate::ingress::{Ended, Link, LinkError, OnTheWay, Unsent};

/// How a producer paces itself.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Envelopes that may be on the way without being taken by the durable consumers.
    pub window: u64,
    /// Bytes of encoded envelopes that may be on the way so; a part of what the buffers on the way hold, so that a producer of
    /// long lines waits instead of filling them.
    pub window_bytes: u64,
    /// How long the stack may be away before a call gives up.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            window: 8192,
            window_bytes: 4 << 20,
            patience: Duration::from_secs(30),
        }
    }
}

/// What became of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Envelopes handed to [`Producer::send`].
    pub sent: u64,
    /// Envelopes that the pipeline dropped and counted, or that were in flight to an agent that vanished.
    pub lost: u64,
}

/// A connection to an agent that survives its restarts.
#[derive(Debug)]
pub struct Producer {
    channel: Channel,
    ledger: Arc<Ledger>,
    tasks: Tasks,
    pace: Pace,
    link: Option<Link>,
    report: Report,
    backoff: Backoff,
}

impl Producer {
    /// A producer for the agent at `target`; connects when it is first used.
    #[must_use]
    pub fn new(target: &Target, ledger: Arc<Ledger>, tasks: &Tasks, pace: Pace) -> Self {
        let channel = Channel::new(target);
        let backoff = Backoff::between_parts();
        Self {
            channel,
            ledger,
            tasks: tasks.clone(),
            pace,
            link: None,
            report: Report::default(),
            backoff,
        }
    }

    /// Sends a batch; waits while the window is full. An error means that the agent was away for too long; the batch was
    /// then not sent and not counted.
    pub async fn send(&mut self, batch: Batch) -> Result<(), LinkError> {
        let count = batch.len() as u64;
        self.transmit(Parcel::unacknowledged(batch)).await?;
        self.report.sent += count;
        self.wait_for(OnTheWay {
            envelopes: self.pace.window,
            bytes: self.pace.window_bytes,
        })
        .await
    }

    /// Waits until everything sent was taken, or counted as lost; says which.
    pub async fn flush(&mut self) -> Result<Report, LinkError> {
        self.wait_for(OnTheWay::default()).await?;
        Ok(self.report())
    }

    /// What is known by now.
    #[must_use]
    pub fn report(&self) -> Report {
        let told = self.link.as_ref().map_or(0, |link| link.progress().lost);
        Report {
            lost: self.report.lost + told,
            ..self.report
        }
    }

    /// Envelopes that are on the way.
    #[must_use]
    pub fn on_the_way(&self) -> u64 {
        self.link.as_ref().map_or(0, |link| link.untaken().envelopes)
    }

    /// Waits until no more than `window` is on the way; sends again what an ended link left over.
    async fn wait_for(&mut self, window: OnTheWay) -> Result<(), LinkError> {
        loop {
            let Some(link) = &self.link else { return Ok(()) };
            if link.is_over() {
                let unsent = self.retire().await;
                for parcel in unsent {
                    self.transmit(parcel).await?;
                }
                continue;
            }
            let untaken = link.untaken();
            if untaken.envelopes <= window.envelopes && untaken.bytes <= window.bytes {
                return Ok(());
            }
            link.changed().await;
        }
    }

    /// Sends a parcel over whichever link there is, within our patience.
    async fn transmit(&mut self, parcel: Parcel) -> Result<(), LinkError> {
        let mut waiting = std::collections::VecDeque::from([parcel]);
        let give_up = Instant::now() + self.pace.patience;
        while let Some(parcel) = waiting.pop_front() {
            let link = match &self.link {
                Some(link) => link,
                None => match Link::open(&self.channel, Arc::clone(&self.ledger), &self.tasks).await {
                    Ok(link) => {
                        self.backoff.reset();
                        self.link.insert(link)
                    }
                    Err(error) if Instant::now() >= give_up => return Err(error),
                    Err(_) => {
                        waiting.push_front(parcel);
                        tokio::time::sleep(self.backoff.next_delay()).await;
                        continue;
                    }
                },
            };
            if let Err(Unsent(parcel)) = link.send(parcel).await {
                let unsent = self.retire().await;
                waiting.push_front(parcel);
                for parcel in unsent.into_iter().rev() {
                    waiting.push_front(parcel);
                }
            }
        }
        Ok(())
    }

    /// Takes the ended link out of service; returns what it did not send.
    async fn retire(&mut self) -> Vec<Parcel> {
        let Some(link) = self.link.take() else {
            return Vec::new();
        };
        let Ended { unsent, lost, .. } = link.ended().await;
        self.report.lost += lost + link.progress().lost;
        unsent
    }
}
