//! One client's stream: from its subscription to its frames.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use weir_envelope::batch::Batch;
use weir_flow::{LogContext, Parcel, Reason, Receipt};
use weir_net::Frame;
use weir_net::Handover;
use weir_rpc::subscriber::{Delivery, Refused, Subscription};

use crate::tags::TagForm;

/// How long a stream that ends waits for what it has handed to the transport.
const DRAIN: Duration = Duration::from_secs(1);

/// How a client wants its envelopes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) tags: TagForm,
    /// One message for each envelope (`Receiver`), or one for many (`BatchedReceiver`).
    pub(crate) batched: bool,
}

/// A place among the streams that the RLP serves at a time.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place, unless `limit` are taken.
    pub(crate) fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .is_ok()
            .then(|| Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message on its way through the transport.
#[derive(Debug)]
struct Held {
    envelopes: u64,
    /// Lets the doppler know, when it is dropped.
    receipt: Option<Receipt>,
    /// Kept where nobody upstream counts what is lost, to name the sources.
    message: Option<Bytes>,
}

/// One client's stream.
pub(crate) struct ClientStream {
    // The order of fields is the order of drops: once the subscription is closed, receipts acknowledge nothing, and the
    // doppler counts what the client did not get.
    subscription: Subscription,
    handover: Handover<Held>,
    form: Form,
    pending: VecDeque<Frame>,
    context: LogContext,
    _place: Place,
}

impl ClientStream {
    pub(crate) fn new(subscription: Subscription, form: Form, context: LogContext, place: Place) -> Self {
        context.ledger.subscribers(1);
        Self {
            subscription,
            handover: Handover::default(),
            form,
            pending: VecDeque::new(),
            context,
            _place: place,
        }
    }

    /// The next frame; `None` when the stream has ended. A doppler that refuses the subscription ends it: the client would
    /// miss a part without knowing.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, Refused> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                return Ok(Some(frame));
            }
            self.release();
            let due = self.handover.due();
            let written = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                delivery = self.subscription.next() => self.pass_on(delivery?),
                () = written => {}
                () = self.context.shutdown.requested() => {
                    self.drained().await;
                    return Ok(None);
                }
            }
        }
    }

    fn pass_on(&mut self, delivery: Delivery) {
        let Delivery {
            message,
            envelopes,
            deprecated_tags,
            receipt,
        } = delivery;
        let (message, envelopes) = match envelopes {
            Some(envelopes) if self.form.tags.suits(deprecated_tags) => (message, envelopes),
            _ => self.rewrite(message),
        };
        if self.form.batched {
            self.pending.push_back(Frame::from(message.clone()));
        } else {
            let batch = Batch::split(message.clone()).batch;
            self.pending.extend(
                batch
                    .iter()
                    .map(|envelope| Frame::from(message.slice_ref(envelope.bytes()))),
            );
        }
        self.context.ledger.received(envelopes);
        self.context.ledger.in_flight(envelopes.cast_signed());
        let bytes = message.len();
        let message = receipt.is_none().then_some(message);
        let written = self.handover.push(
            bytes,
            Held {
                envelopes,
                receipt,
                message,
            },
        );
        self.written(written);
    }

    fn rewrite(&self, message: Bytes) -> (Bytes, u64) {
        let (rewritten, split) = self.form.tags.rewrite(message);
        let refused = split.rejected.len() as u64;
        if refused > 0 {
            self.context.ledger.received(refused);
        }
        for rejected in &split.rejected {
            self.context
                .ledger
                .dropped("ingress", Reason::Malformed, &rejected.source_id, 1);
        }
        (rewritten, split.batch.len() as u64)
    }

    fn release(&mut self) {
        let written = self.handover.release();
        self.written(written);
    }

    /// These messages were written: the client has them.
    fn written(&self, messages: Vec<Held>) {
        for held in messages {
            self.context.ledger.sent(held.envelopes);
            self.context.ledger.in_flight(-held.envelopes.cast_signed());
            drop(held.receipt);
        }
    }

    /// The RLP stops: what was passed on gets the time to be written and acknowledged, then the stream ends.
    async fn drained(&mut self) {
        let by = tokio::time::Instant::now() + DRAIN;
        while let Some(due) = self.handover.due()
            && due < by
        {
            tokio::time::sleep_until(due).await;
            self.release();
        }
        // One more round of acknowledgements leaves before the subscription is closed.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.subscription.close();
        let ledger = &self.context.ledger;
        for held in self.handover.abandon() {
            ledger.in_flight(-held.envelopes.cast_signed());
            if let Some(message) = held.message {
                let parcel = Parcel::unacknowledged(Batch::split(message).batch);
                ledger.lost("egress", Reason::ConsumerGone, &parcel.lose());
            } else {
                // The doppler was not told that these were handed on, and counts them.
                ledger.returned(held.envelopes);
            }
        }
        ledger.subscribers(-1);
    }
}
