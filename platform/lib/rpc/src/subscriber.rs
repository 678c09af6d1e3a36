//! The client's side of a subscription: the streams of all dopplers for one consumer's request, merged.
//!
//! Each [`Doppler`] has one connection for all subscriptions of the process, and one stream that carries their
//! acknowledgements back. A subscription reads one stream of each doppler, on the task of its reader, and opens a
//! stream that has ended again. Where the reader is slow, HTTP/2's flow control holds the doppler back, and the
//! doppler's queue decides which envelopes are lost.
//!
//! A doppler may refuse a subscription, because it has too many or cannot serve this one. The reader of a live
//! subscription gets [`Refused`], because a stream that lacks one doppler's envelopes looks complete and is not. A
//! durable subscription asks again until it is accepted.

mod acknowledgements;
mod doppler;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::SelectAll;
use futures::{Stream, StreamExt};
use prost::Message;
use thiserror::Error;
use tonic::Status;
use weir_envelope::batch::{Batch, Split};
use weir_flow::{Ledger, Parcel, Reason, Receipt, Tracker};
use weir_net::Target;
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_service::{Shutdown, Tasks};

use doppler::{Doppler, Event};

/// What the acknowledgement of a message means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The message was passed on to a client that reads it now.
    Live,
    /// The message is stored. Producers may wait for that.
    Durable,
}

/// The dopplers that a component subscribes to.
#[derive(Debug)]
pub struct Dopplers {
    dopplers: Vec<Arc<Doppler>>,
}

impl Dopplers {
    /// The dopplers at `targets`, to which it connects on first use. An acknowledgement is sent only when the drops
    /// that `ledger` has counted before it are on file.
    #[must_use]
    pub fn new(targets: &[Target], ledger: &Arc<Ledger>, shutdown: &Shutdown, tasks: &Tasks) -> Arc<Self> {
        let dopplers = targets
            .iter()
            .map(|target| Doppler::new(target, ledger, shutdown, tasks))
            .collect();
        Arc::new(Self { dopplers })
    }

    /// The number of dopplers that have an open stream.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.dopplers.iter().filter(|doppler| doppler.is_connected()).count()
    }

    /// Subscribes at every doppler.
    #[must_use]
    pub fn subscribe(&self, request: &EgressBatchRequest, durability: Durability) -> Subscription {
        // Encoded once for all dopplers and all reconnections.
        let request = Bytes::from(request.encode_to_vec());
        let trackers = Arc::<Trackers>::default();
        let events = self.dopplers.iter().map(|doppler| {
            let subscribing = doppler::DopplerSubscription::new(
                Arc::clone(doppler),
                request.clone(),
                durability,
                Arc::clone(&trackers),
            );
            let events = futures::stream::unfold(subscribing, |mut subscribing| async move {
                let event = subscribing.next().await;
                Some((event, subscribing))
            });
            events.boxed() as Events
        });
        let events = events.collect();
        Subscription {
            trackers: FreezeOnDrop(trackers),
            first: None,
            events,
        }
    }
}

/// The error of a subscription that a doppler refuses. To ask it again at once is of no use.
#[derive(Debug, Clone, Error)]
#[error("doppler `{doppler}` refuses the subscription: {}", status.message())]
pub struct Refused {
    /// The address of the doppler.
    pub doppler: String,
    /// The doppler's answer: `RESOURCE_EXHAUSTED` when it has too many subscriptions, `INVALID_ARGUMENT` when it cannot
    /// serve this one.
    pub status: Box<Status>,
}

/// The events of a subscription at one doppler.
type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// The trackers of a subscription: one for each stream whose doppler expects acknowledgements.
type Trackers = parking_lot::Mutex<Vec<Arc<Tracker>>>;

/// One consumer's subscription, which ends when it is dropped. A delivery whose receipt still exists then counts as
/// lost at the doppler.
pub struct Subscription {
    // Fields are dropped in this order: the trackers are frozen before the messages in the streams drop their receipts,
    // which would acknowledge them otherwise.
    trackers: FreezeOnDrop,
    /// A message that came while [`Subscription::opened`] waited for other dopplers.
    first: Option<Delivery>,
    events: SelectAll<Events>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("dopplers", &self.events.len())
            .finish_non_exhaustive()
    }
}

/// The trackers of a subscription, which are frozen when it is dropped: from then on nothing is acknowledged.
#[derive(Debug)]
struct FreezeOnDrop(Arc<Trackers>);

impl FreezeOnDrop {
    fn freeze(&self) {
        for tracker in self.0.lock().iter() {
            tracker.freeze();
        }
    }
}

impl Drop for FreezeOnDrop {
    fn drop(&mut self) {
        self.freeze();
    }
}

impl Subscription {
    /// Waits until every doppler has accepted the subscription or could not be reached, a first message has arrived, or
    /// `patience` has passed. There is such a limit because an original doppler sends nothing before its first message.
    ///
    /// # Errors
    /// When a doppler refuses the subscription. A durable one asks again instead.
    pub async fn opened(&mut self, patience: Duration) -> Result<(), Refused> {
        let mut undecided = self.events.len();
        let decided = async {
            while undecided > 0 {
                match self.events.next().await {
                    Some(Event::Opened | Event::Unreachable) => undecided -= 1,
                    Some(Event::Message(delivery)) => {
                        self.first = Some(delivery);
                        break;
                    }
                    Some(Event::Refused(refused)) => return Err(refused),
                    None => break,
                }
            }
            Ok(())
        };
        tokio::time::timeout(patience, decided).await.unwrap_or(Ok(()))
    }

    /// Waits for the next message of any doppler. Cancel safe.
    ///
    /// # Errors
    /// When a doppler refuses the subscription, at its beginning or when the stream is opened again after a loss. A
    /// durable one asks again instead.
    pub async fn next(&mut self) -> Result<Delivery, Refused> {
        if let Some(delivery) = self.first.take() {
            return Ok(delivery);
        }
        loop {
            match self.events.next().await {
                Some(Event::Message(delivery)) => return Ok(delivery),
                Some(Event::Refused(refused)) => return Err(refused),
                Some(Event::Opened | Event::Unreachable) => {}
                // The events of a doppler never end, so there are no dopplers.
                None => std::future::pending().await,
            }
        }
    }

    /// Returns the next message or the refusal, if there is one without waiting.
    pub fn try_next(&mut self) -> Option<Result<Delivery, Refused>> {
        futures::FutureExt::now_or_never(self.next())
    }

    /// Stops the acknowledgements ahead of the drop: from now on, dropping a delivery acknowledges nothing.
    pub fn close(&self) {
        self.trackers.freeze();
    }
}

/// A message of a subscription. Dropping its receipt acknowledges it to the doppler.
#[derive(Debug)]
pub struct Delivery {
    /// The message, an encoded `EnvelopeBatch`.
    pub message: Bytes,
    /// The number of envelopes in the message. `None` if the doppler is an original one, because the message was not
    /// decoded.
    pub envelopes: Option<u64>,
    /// Whether any envelope carries deprecated tags. True if that is not known.
    pub deprecated_tags: bool,
    /// The receipt, if the doppler expects acknowledgements.
    pub receipt: Option<Receipt>,
}

impl Delivery {
    /// Splits the message into envelopes. Those that are malformed are counted in `ledger`.
    #[must_use]
    pub fn into_parcel(self, ledger: &Ledger) -> Parcel {
        let Split {
            batch,
            rejected,
            broken,
            ..
        } = Batch::split(self.message);
        for rejected in &rejected {
            ledger.dropped("ingress", Reason::Malformed, &rejected.source_id, 1);
        }
        if broken.is_some() {
            ledger.dropped("ingress", Reason::Malformed, "", 1);
        }
        Parcel {
            batch,
            receipts: self.receipt.into_iter().collect(),
        }
    }
}
