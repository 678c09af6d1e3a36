//! The client's end of a subscription: one consumer's request, merged from all dopplers.
//!
//! Each [`Doppler`] has one connection for all subscriptions of the process, and one stream on which their
//! acknowledgements go back, gathered. A subscription reads one stream of each doppler, on the task of whoever reads the
//! subscription; streams that end are opened again. Who does not read is held back by HTTP/2's flow control, and the
//! doppler's queue then decides who loses.
//!
//! A doppler may refuse a subscription: it has too many, or cannot serve this one. The reader of a live subscription learns
//! it ([`Refused`]), because a stream without one doppler's part looks whole and is not. A durable subscription asks again
//! until it is taken.

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

/// Whether acknowledging a message means that it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It was passed on to somebody who reads it now.
    Live,
    /// It is stored: producers may wait for that.
    Durable,
}

/// The dopplers that a component subscribes to.
#[derive(Debug)]
pub struct Dopplers {
    dopplers: Vec<Arc<Doppler>>,
}

impl Dopplers {
    /// Connects (when first needed) to each of `targets`. Before an acknowledgement leaves, the drops in `ledger` are on
    /// file.
    #[must_use]
    pub fn new(targets: &[Target], ledger: &Arc<Ledger>, shutdown: &Shutdown, tasks: &Tasks) -> Arc<Self> {
        let dopplers = targets
            .iter()
            .map(|target| Doppler::new(target, ledger, shutdown, tasks))
            .collect();
        Arc::new(Self { dopplers })
    }

    /// How many dopplers are connected now.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.dopplers.iter().filter(|doppler| doppler.is_connected()).count()
    }

    /// Subscribes at every doppler.
    #[must_use]
    pub fn subscribe(&self, request: &EgressBatchRequest, durability: Durability) -> Subscription {
        let request = Bytes::from(request.encode_to_vec());
        let trackers = Arc::<Trackers>::default();
        let events = self.dopplers.iter().map(|doppler| {
            let subscribing =
                doppler::Subscribing::new(Arc::clone(doppler), request.clone(), durability, Arc::clone(&trackers));
            let events = futures::stream::unfold(subscribing, |mut subscribing| async move {
                let event = subscribing.next().await;
                Some((event, subscribing))
            });
            events.boxed() as Events
        });
        let events = events.collect();
        Subscription {
            closing: Closing { trackers },
            ahead: None,
            events,
        }
    }
}

/// A doppler does not take a subscription, and asking it again at once is of no use.
#[derive(Debug, Clone, Error)]
#[error("doppler `{doppler}` refuses the subscription: {}", status.message())]
pub struct Refused {
    /// Its address.
    pub doppler: String,
    /// What it answered: `RESOURCE_EXHAUSTED` when it has too many subscriptions, `INVALID_ARGUMENT` when it cannot serve
    /// this one.
    pub status: Box<Status>,
}

/// What happens at one doppler.
type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// The books of a subscription at its dopplers.
type Trackers = parking_lot::Mutex<Vec<Arc<Tracker>>>;

/// One consumer's subscription. Dropping it ends it; what was delivered and not let go of by then counts as lost at the
/// doppler.
pub struct Subscription {
    // The order of fields is the order of drops: the books are closed before the messages in the streams go.
    closing: Closing,
    /// A message that came while others were still being waited for.
    ahead: Option<Delivery>,
    events: SelectAll<Events>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("dopplers", &self.events.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Closing {
    trackers: Arc<Trackers>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        for tracker in self.trackers.lock().iter() {
            tracker.freeze();
        }
    }
}

impl Subscription {
    /// Waits until every doppler has taken the subscription or turned out to be away, a first message has come, or
    /// `patience` is over: an original doppler says nothing before its first message.
    ///
    /// # Errors
    /// When a doppler refuses the subscription. A durable one is never refused: it asks again.
    pub async fn opened(&mut self, patience: Duration) -> Result<(), Refused> {
        let mut undecided = self.events.len();
        let decided = async {
            while undecided > 0 {
                match self.events.next().await {
                    Some(Event::Opened | Event::Away) => undecided -= 1,
                    Some(Event::Message(delivery)) => {
                        self.ahead = Some(delivery);
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
    /// When a doppler refuses the subscription: at its begin, or when it is opened again after the doppler was away. A
    /// durable one is never refused: it asks again.
    pub async fn next(&mut self) -> Result<Delivery, Refused> {
        if let Some(delivery) = self.ahead.take() {
            return Ok(delivery);
        }
        loop {
            match self.events.next().await {
                Some(Event::Message(delivery)) => return Ok(delivery),
                Some(Event::Refused(refused)) => return Err(refused),
                Some(Event::Opened | Event::Away) => {}
                // There are no dopplers: their streams never end.
                None => std::future::pending().await,
            }
        }
    }

    /// The next message, or the refusal, if one is there already.
    pub fn try_next(&mut self) -> Option<Result<Delivery, Refused>> {
        futures::FutureExt::now_or_never(self.next())
    }

    /// Ends the subscription ahead of its drop: from now on, dropping a delivery acknowledges nothing.
    pub fn close(&self) {
        for tracker in self.closing.trackers.lock().iter() {
            tracker.freeze();
        }
    }
}

/// A message of a subscription. Dropping its receipt tells the doppler that it was handed on.
#[derive(Debug)]
pub struct Delivery {
    /// An `EnvelopeBatch`.
    pub message: Bytes,
    /// Envelopes in it; `None` if the doppler is not one of ours and the message has not been looked at.
    pub envelopes: Option<u64>,
    /// Whether any envelope carries deprecated tags; true if nobody knows.
    pub deprecated_tags: bool,
    /// Present if the doppler wants to know.
    pub receipt: Option<Receipt>,
}

impl Delivery {
    /// Takes the message apart; what turns out to be malformed is counted in `ledger`.
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
