//! The queue of envelopes to be shipped: bounded, fair to its components, and with reported losses.
//!
//! The law: `received = sent + dropped + queued + in shipments`. Losses are reported in the stream itself, as the
//! counter `dropped` of the component that lost envelopes, with the tags `direction=egress`, `hop=telemetry` and
//! `reason`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_flow::{Capacity, FairQueue, Ledger, LossReport, Parcel, Reason};
use weir_service::clock;

use crate::identity::{Identity, METRIC_VERSION};

/// The hop of losses in ledgers and counters.
const HOP: &str = "telemetry";
/// The largest size of a shipment in bytes. It is well below what a gRPC server accepts.
const SHIPMENT_BYTES: usize = 1 << 20;
/// How long a shipment waits for more envelopes.
const LINGER: Duration = Duration::from_millis(50);

/// The telemetry envelopes of this process. Any thread adds some, and one task ships them.
#[derive(Debug)]
pub struct Outbox {
    queue: FairQueue,
    ledger: Arc<Ledger>,
    instance_id: String,
    /// The totals of the `dropped` counters, by component and reason.
    dropped: Mutex<BTreeMap<(String, &'static str), u64>>,
}

impl Outbox {
    /// Creates an empty outbox that counts in `ledger`.
    #[must_use]
    pub fn new(capacity: Capacity, ledger: Arc<Ledger>, instance_id: &str) -> Arc<Self> {
        Arc::new(Self {
            queue: FairQueue::new(capacity),
            ledger,
            instance_id: instance_id.to_owned(),
            dropped: Mutex::default(),
        })
    }

    /// Returns the ledger, which counts what was received, sent and lost.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Returns the number of waiting envelopes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether no envelope is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds the envelope that `write` writes. Never waits. If the outbox is full, the component that fills it loses its
    /// oldest envelopes.
    pub(crate) fn put(&self, write: impl FnOnce(&mut Writer<'_>)) {
        let mut envelope = Vec::with_capacity(512);
        write(&mut Writer::new(&mut envelope));
        let mut builder = BatchBuilder::new();
        builder.push(&envelope);
        self.put_batch(builder.finish());
    }

    /// Adds a batch of envelopes.
    pub(crate) fn put_batch(&self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        self.ledger.received(count(batch.len()));
        let reason = if self.queue.is_closed() {
            Reason::ShuttingDown
        } else {
            Reason::BufferFull
        };
        // Nothing waits for an acknowledgement of telemetry, so the parcel has no receipts.
        let losses = self.queue.push(Parcel::unacknowledged(batch));
        self.ledger.lost(HOP, reason, &losses);
    }

    /// Waits for envelopes and takes at most `max_envelopes`, plus counters for what was lost since the last call.
    /// Returns `None` when the outbox is closed and empty. It waits a moment after the first envelope, so that
    /// shipments contain more than one.
    ///
    /// Cancel safe: nothing is taken unless it is returned.
    pub async fn drain(self: &Arc<Self>, max_envelopes: usize) -> Option<Shipment> {
        while self.queue.is_empty() {
            // What is queued is still sent after the outbox was closed.
            if self.queue.is_closed() {
                return None;
            }
            self.queue.filled().await;
        }
        // Telemetry comes in bursts. A short wait makes one message of a burst.
        if self.queue.len() < max_envelopes && !self.queue.is_closed() {
            tokio::time::sleep(LINGER).await;
        }
        // Only one task drains, so there still is something.
        let parcels = self.queue.try_pop(max_envelopes, SHIPMENT_BYTES)?;
        let mut builder = BatchBuilder::new();
        for envelope in parcels.iter().flat_map(|parcel| parcel.batch.iter()) {
            builder.push_raw(envelope);
        }
        // In this shipment, so that a report needs no space in the queue that has overflowed.
        self.report_losses(&mut builder);
        let batch = builder.finish();
        self.ledger.in_flight(signed(batch.len()));
        Some(Shipment {
            batch,
            outbox: Some(Arc::clone(self)),
        })
    }

    /// Closes the outbox. It accepts nothing more, and what is waiting can still be drained.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Adds the `dropped` counters of what was lost since the last call.
    fn report_losses(&self, builder: &mut BatchBuilder) {
        let before = builder.len();
        for LossReport {
            source_id,
            reason,
            count,
            ..
        } in self.ledger.take_reports()
        {
            // A report without a count repeats an earlier one, and each loss is reported once here.
            if count == 0 {
                continue;
            }
            let identity = Identity::of(&source_id);
            let total = {
                let mut totals = self.dropped.lock();
                let total = totals.entry((identity.component.to_owned(), reason)).or_default();
                *total += count;
                *total
            };
            builder.push_with(|out| {
                Writer::new(out)
                    .timestamp(clock::now_nanos())
                    .source_id(identity.metrics_source)
                    .instance_id(&self.instance_id)
                    .tag("origin", &identity.origin())
                    .tag("component", identity.component)
                    .tag("metric_version", METRIC_VERSION)
                    .tag("direction", "egress")
                    .tag("hop", HOP)
                    .tag("reason", reason)
                    .counter("dropped", count, total);
            });
        }
        self.ledger.received(count(builder.len() - before));
    }
}

/// Envelopes that were taken from the outbox. Call [`Shipment::delivered`] when they have arrived; a shipment that is
/// dropped without it counts as lost.
#[derive(Debug)]
pub struct Shipment {
    batch: Batch,
    outbox: Option<Arc<Outbox>>,
}

impl Shipment {
    /// Returns the envelopes.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Counts the envelopes as delivered.
    pub fn delivered(mut self) {
        if let Some(outbox) = self.outbox.take() {
            outbox.ledger.in_flight(-signed(self.batch.len()));
            outbox.ledger.sent(count(self.batch.len()));
        }
    }

    /// Counts the envelopes as lost.
    pub fn lost(mut self, reason: Reason) {
        self.count_lost(reason);
    }

    fn count_lost(&mut self, reason: Reason) {
        if let Some(outbox) = self.outbox.take() {
            outbox.ledger.in_flight(-signed(self.batch.len()));
            outbox
                .ledger
                .lost(HOP, reason, &Parcel::unacknowledged(self.batch.clone()).lose());
        }
    }
}

impl Drop for Shipment {
    fn drop(&mut self) {
        // A shipment that is dropped without a result was on its way when the task ended.
        self.count_lost(Reason::PeerLost);
    }
}

fn count(len: usize) -> u64 {
    len as u64
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
