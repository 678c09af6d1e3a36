//! The client's end of a subscription: one consumer's request, merged from all dopplers.
//!
//! Each [`Doppler`] has one connection for all subscriptions of the process, and one stream on which their
//! acknowledgements go back, gathered. A subscription has one task for each doppler, which reconnects until the
//! subscription is dropped; it reads one message ahead and otherwise lets HTTP/2's flow control hold the doppler back,
//! whose queue then decides who loses.

mod acknowledgements;
mod doppler;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_envelope::batch::{Batch, Split};
use weir_flow::{Ledger, Parcel, Reason, Receipt, Tracker};
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_service::{Shutdown, Tasks};

use crate::channel::Target;
use doppler::Doppler;

/// Messages read ahead of the consumer, over all dopplers.
const READ_AHEAD: usize = 2;

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
    tasks: Tasks,
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
        Arc::new(Self {
            dopplers,
            tasks: tasks.clone(),
        })
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
        let (deliveries, delivered) = mpsc::channel(READ_AHEAD);
        let closed = CancellationToken::new();
        let trackers = Arc::<Trackers>::default();
        for doppler in &self.dopplers {
            let subscription = doppler::Subscribing {
                doppler: Arc::clone(doppler),
                request: request.clone(),
                durability,
                deliveries: deliveries.clone(),
                closed: closed.clone(),
                trackers: Arc::clone(&trackers),
            };
            self.tasks.spawn("subscription", subscription.run());
        }
        Subscription {
            closing: Closing { trackers },
            delivered,
            _closed: closed.drop_guard(),
        }
    }
}

/// The books of a subscription at its dopplers.
type Trackers = parking_lot::Mutex<Vec<Arc<Tracker>>>;

/// One consumer's subscription. Dropping it ends it; what was delivered and not let go of by then counts as lost at the
/// doppler.
#[derive(Debug)]
pub struct Subscription {
    // The order of fields is the order of drops: the books are closed before the messages in the channel go.
    closing: Closing,
    delivered: mpsc::Receiver<Delivery>,
    _closed: DropGuard,
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
    /// Waits for the next message of any doppler. Cancel safe.
    pub async fn next(&mut self) -> Delivery {
        match self.delivered.recv().await {
            Some(delivery) => delivery,
            // The tasks that hold the other end stop only when this subscription is dropped, or with the process.
            None => std::future::pending().await,
        }
    }

    /// Ends the subscription ahead of its drop: from now on, dropping a delivery acknowledges nothing.
    pub fn close(&self) {
        for tracker in self.closing.trackers.lock().iter() {
            tracker.freeze();
        }
    }

    /// The next message, if one is there already.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.delivered.try_recv().ok()
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
