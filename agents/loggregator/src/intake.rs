//! Takes batches from the producers into the buffer.

use std::sync::Arc;

use weir_agents_lib::rewrite::{Rewriter, Rewritten};
use weir_agents_lib::{Buffer, INGRESS, OriginMappings};
use weir_envelope::batch::{Batch, Kind};
use weir_flow::{Ledger, Parcel, Reason};

/// Rewrites received batches and puts them into the buffer.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) rewriter: Rewriter,
    pub(crate) logs_disabled: bool,
    pub(crate) buffer: Buffer,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) origin_mappings: OriginMappings,
}

impl Intake {
    pub(crate) fn take(&self, parcel: Parcel) {
        let Some(batch) = self.without_logs(&parcel) else {
            return;
        };
        let Rewritten { batch, origin_mappings } = self.rewriter.rewrite(batch);
        self.origin_mappings.add(origin_mappings);
        self.buffer.push(Parcel {
            batch,
            receipts: parcel.receipts,
        });
    }

    /// Returns the batch of `parcel`, without its logs if the operator has disabled them. Returns `None` if nothing is
    /// left.
    fn without_logs(&self, parcel: &Parcel) -> Option<Batch> {
        if !self.logs_disabled {
            return Some(parcel.batch.clone());
        }
        let mut discarded = 0;
        let batch = parcel.batch.select(|envelope| {
            let is_log = envelope.kind() == Kind::Log;
            if is_log {
                self.ledger
                    .dropped(INGRESS, Reason::LogsDisabled, envelope.source_id(), 1);
                discarded += 1;
            }
            !is_log
        });
        parcel.note_lost(discarded);
        batch
    }
}
