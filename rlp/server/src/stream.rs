//! The stream of one client, from its subscription to the frames that it receives.

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

/// How long a stream that ends waits until what it has handed to the transport is written.
const DRAIN: Duration = Duration::from_secs(1);

/// The form in which a client wants its envelopes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) tags: TagForm,
    /// Whether a message contains several envelopes (`BatchedReceiver`) or one (`Receiver`).
    pub(crate) batched: bool,
}

/// The permission to serve one stream. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct StreamPermit(Arc<AtomicUsize>);

impl StreamPermit {
    /// Returns a permission, unless `limit` streams are served already.
    pub(crate) fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .is_ok()
            .then(|| Self(Arc::clone(taken)))
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message that was handed to the transport and is not written yet.
#[derive(Debug)]
struct Undelivered {
    envelopes: u64,
    /// The receipt of the message. When it is dropped, the message is acknowledged to the doppler.
    receipt: Option<Receipt>,
    /// The message itself, kept only if the doppler does not count losses. It tells the sources of lost envelopes.
    message: Option<Bytes>,
}

/// The stream of one client.
pub(crate) struct ClientStream {
    // Fields are dropped in this order. The subscription is closed first, so that the receipts acknowledge nothing any
    // more, and the doppler counts what the client did not get.
    subscription: Subscription,
    handover: Handover<Undelivered>,
    form: Form,
    pending: VecDeque<Frame>,
    context: LogContext,
    _permit: StreamPermit,
}

impl ClientStream {
    pub(crate) fn new(subscription: Subscription, form: Form, context: LogContext, permit: StreamPermit) -> Self {
        context.ledger.subscribers(1);
        Self {
            subscription,
            handover: Handover::default(),
            form,
            pending: VecDeque::new(),
            context,
            _permit: permit,
        }
    }

    /// Returns the next frame, or `None` when the stream has ended. If a doppler refuses the subscription, the stream
    /// ends with an error, because the client would miss a part of the envelopes without knowing it.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, Refused> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                return Ok(Some(frame));
            }
            // Before each wait, so that acknowledgements are not delayed by a client that gets nothing new.
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
            // A clone of `Bytes` shares the memory, so nothing is copied here.
            self.pending.push_back(Frame::from(message.clone()));
        } else {
            let batch = Batch::split(message.clone()).batch;
            // A stream of single envelopes sends parts of the received message, without encoding.
            self.pending.extend(
                batch
                    .iter()
                    .map(|envelope| Frame::from(message.slice_ref(envelope.bytes()))),
            );
        }
        self.context.ledger.received(envelopes);
        self.context.ledger.in_flight(envelopes.cast_signed());
        let bytes = message.len();
        // A doppler that gets acknowledgements counts losses itself. Otherwise the sources are needed for counting them
        // here.
        let message = receipt.is_none().then_some(message);
        let written = self.handover.push(
            bytes,
            Undelivered {
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

    /// Counts messages that were written to the client, and releases their receipts.
    fn written(&self, messages: Vec<Undelivered>) {
        for held in messages {
            self.context.ledger.sent(held.envelopes);
            self.context.ledger.in_flight(-held.envelopes.cast_signed());
            drop(held.receipt);
        }
    }

    /// Waits, when the RLP stops, until messages in the transport are written and acknowledged.
    async fn drained(&mut self) {
        // Nothing more is read. This only waits until bytes in the connection count as written.
        let by = tokio::time::Instant::now() + DRAIN;
        while let Some(due) = self.handover.due()
            && due < by
        {
            tokio::time::sleep_until(due).await;
            self.release();
        }
        // The last acknowledgements must leave before the subscription is closed.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        // Closed before the receipts are dropped, so that they acknowledge nothing.
        self.subscription.close();
        let ledger = &self.context.ledger;
        for held in self.handover.abandon() {
            ledger.in_flight(-held.envelopes.cast_signed());
            if let Some(message) = held.message {
                let parcel = Parcel::unacknowledged(Batch::split(message).batch);
                ledger.lost("egress", Reason::ConsumerGone, &parcel.lose());
            } else {
                // The doppler got no acknowledgement for these envelopes and counts them.
                ledger.returned(held.envelopes);
            }
        }
        ledger.subscribers(-1);
    }
}
