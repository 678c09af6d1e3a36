//! A producer that waits for acknowledgements: it sends batches to an agent, waits while too many envelopes are not
//! taken yet, and can report how many were lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_envelope::batch::Batch;
use weir_flow::{Ledger, Parcel};
use weir_net::{Backoff, Channel, Target};
use weir_service::Tasks;

use crate::ingress::{Ended, Link, LinkError, Unsent, Volume};

/// How much a producer sends ahead, and how long it waits for the stack.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How many envelopes may be sent without being taken by the durable consumers.
    pub window: u64,
    /// How many bytes of encoded envelopes may be sent without being taken. It is a part of what the buffers on the way
    /// hold, so that a producer of long lines waits instead of filling them.
    pub window_bytes: u64,
    /// How long a call tries to reach the agent before it gives up.
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

/// How many envelopes a producer has sent, and how many of them were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// The number of envelopes that were handed to [`Producer::send`].
    pub sent: u64,
    /// The number of envelopes that the pipeline dropped and counted, or that were in flight to an agent that vanished.
    pub lost: u64,
}

/// A connection to an agent, which is made again when the agent restarts.
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
    /// A producer for the agent at `target`, which connects on first use.
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

    /// Sends a batch, and waits while the window is full. An error means that the agent could not be reached within
    /// [`Pace::patience`]. The batch was not sent then, and is not counted.
    pub async fn send(&mut self, batch: Batch) -> Result<(), LinkError> {
        let count = batch.len() as u64;
        self.transmit(Parcel::unacknowledged(batch)).await?;
        self.report.sent += count;
        self.wait_for(Volume {
            envelopes: self.pace.window,
            bytes: self.pace.window_bytes,
        })
        .await
    }

    /// Waits until every envelope that was sent is taken or counted as lost, and returns the counts.
    pub async fn flush(&mut self) -> Result<Report, LinkError> {
        self.wait_for(Volume::default()).await?;
        Ok(self.report())
    }

    /// The counts so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let lost_on_link = self.link.as_ref().map_or(0, |link| link.progress().lost);
        Report {
            lost: self.report.lost + lost_on_link,
            ..self.report
        }
    }

    /// The number of envelopes that were sent and are not taken yet.
    #[must_use]
    pub fn untaken(&self) -> u64 {
        self.link.as_ref().map_or(0, |link| link.untaken().envelopes)
    }

    /// Waits until no more than `window` is sent and not taken. Sends what a link that ended has not sent over a new
    /// one.
    async fn wait_for(&mut self, window: Volume) -> Result<(), LinkError> {
        loop {
            let Some(link) = &self.link else { return Ok(()) };
            if link.is_over() {
                // These were not looked at by the agent, so they can be sent again without a duplicate.
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

    /// Sends a parcel over the present link or a new one, within [`Pace::patience`].
    async fn transmit(&mut self, parcel: Parcel) -> Result<(), LinkError> {
        // What an ended link has not sent goes before `parcel`, so that the order of the producer's envelopes is kept.
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

    /// Removes the ended link and adds its losses to the report. Returns the parcels that it has not sent.
    async fn retire(&mut self) -> Vec<Parcel> {
        let Some(link) = self.link.take() else {
            return Vec::new();
        };
        let Ended { unsent, lost, .. } = link.ended().await;
        self.report.lost += lost + link.progress().lost;
        unsent
    }
}
