//! Stores received envelopes, and counts them in the ledger.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_flow::loss_reports::{self, LossTotals};
use weir_flow::{Ledger, Reason};
use weir_log_cache_store::Store;
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_rpc::subscriber::{Dopplers, Durability};
use weir_service::Shutdown;

/// The shard id with which log caches subscribe, among which the dopplers divide the envelopes.
const SHARD: &str = "log-cache";

/// Stores batches, and counts stored, refused and lost envelopes.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    store: Store,
    ledger: Arc<Ledger>,
    /// The losses that were reported so far.
    loss_totals: Arc<Mutex<LossTotals>>,
    report_hash: u32,
}

impl Intake {
    pub(crate) fn new(store: Store, ledger: Arc<Ledger>) -> Self {
        Self {
            store,
            ledger,
            loss_totals: Arc::default(),
            report_hash: loss_reports::report_hash(),
        }
    }

    /// Stores a batch. When this returns, every reader sees its envelopes.
    pub(crate) fn take(&self, batch: &Batch) {
        self.ledger.received(batch.len() as u64);
        // Nearly all batches have no report, and are stored without a copy.
        if batch
            .iter()
            .any(|envelope| loss_reports::is_report(envelope, self.report_hash))
        {
            let (resolved, repeated) = self.resolve(batch);
            // A report without new losses is not stored. It counts as sent, or the ledger would show it as lost.
            self.ledger.sent(repeated);
            self.store(&resolved);
        } else {
            self.store(batch);
        }
    }

    /// Returns the batch with each report of losses under the source that lost, and the number of reports without new
    /// losses.
    fn resolve(&self, batch: &Batch) -> (Batch, u64) {
        let mut totals = self.loss_totals.lock();
        let mut builder = BatchBuilder::new();
        let mut repeated = 0;
        for envelope in batch.iter() {
            if !loss_reports::is_report(envelope, self.report_hash) {
                builder.push_raw(envelope);
                continue;
            }
            let mut resolved = Vec::new();
            if !totals.write_growth(envelope, &mut resolved) || !builder.push(&resolved) {
                repeated += 1;
            }
        }
        (builder.finish(), repeated)
    }

    fn store(&self, batch: &Batch) {
        let ingested = self.store.ingest(batch, |source_id| {
            self.ledger.dropped("store", Reason::TooLarge, source_id, 1)
        });
        self.ledger.sent(ingested.stored);
    }

    /// Counts a malformed envelope.
    pub(crate) fn refuse(&self, source_id: &str) {
        self.ledger.received(1);
        self.ledger.dropped("ingress", Reason::Malformed, source_id, 1);
    }

    /// Subscribes to all envelopes of the dopplers and stores them, until `shutdown`. A message is acknowledged once it
    /// is stored.
    pub(crate) async fn feed(self, dopplers: Arc<Dopplers>, shutdown: Shutdown) {
        let request = EgressBatchRequest {
            shard_id: SHARD.to_owned(),
            use_preferred_tags: true,
            selectors: weir_envelope::selector::everything(),
            ..EgressBatchRequest::default()
        };
        let mut subscription = dopplers.subscribe(&request, Durability::Durable);
        while let Some(next) = shutdown.unless_requested(subscription.next()).await {
            // A durable subscription that was refused is repeated and logged by the subscriber itself.
            let Ok(delivery) = next else { continue };
            let parcel = delivery.into_parcel(&self.ledger);
            self.take(&parcel.batch);
            self.ledger.stored(parcel.batch.len() as u64);
            // Dropping the receipts acknowledges the message, which must not happen before it is stored.
            drop(parcel);
        }
    }
}
