//! Parcels: the items of queues, each a batch with its receipts.

use weir_envelope::batch::Batch;

use crate::receipt::Receipt;

/// A batch with the receipts of the messages from which it was made.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The envelopes.
    pub batch: Batch,
    /// The receipts of the messages; empty if their senders expect no acknowledgement.
    pub receipts: Vec<Receipt>,
}

impl Parcel {
    /// Returns a parcel of a message whose sender expects no acknowledgement.
    #[must_use]
    pub const fn unacknowledged(batch: Batch) -> Self {
        Self {
            batch,
            receipts: Vec::new(),
        }
    }

    /// Returns a clone for one branch of a parcel that goes to several destinations; branches are numbered from zero.
    ///
    /// An envelope that is lost on two branches counts as one lost envelope for its producer.
    #[must_use]
    pub fn for_branch(&self, branch: usize) -> Self {
        Self {
            batch: self.batch.clone(),
            receipts: self.receipts.iter().map(|receipt| receipt.for_branch(branch)).collect(),
        }
    }

    /// Notes in the receipts that `count` envelopes of this parcel are lost, which is reported to producers that wait
    /// for it.
    ///
    /// If the parcel was put together of several messages, the loss is assigned to the first ones, to each up to the
    /// number of its envelopes.
    pub fn note_lost(&self, mut count: u64) {
        for receipt in &self.receipts {
            // It is not known to which messages the lost envelopes belong; the sum is right in any case.
            let part = receipt.part_of(count);
            receipt.note_lost(part);
            count -= part;
            if count == 0 {
                break;
            }
        }
    }
}
