//! What queues hold: a batch and the receipts that travel with it.

use weir_envelope::batch::Batch;

use crate::receipt::Receipt;

/// A batch on its way, with the receipts of the messages it was cut from.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The envelopes.
    pub batch: Batch,
    /// Empty if nobody upstream wants to know.
    pub receipts: Vec<Receipt>,
}

impl Parcel {
    /// A parcel of a message whose sender does not wait for acknowledgements.
    #[must_use]
    pub const fn unacknowledged(batch: Batch) -> Self {
        Self {
            batch,
            receipts: Vec::new(),
        }
    }

    /// A clone for the way with this number of a parcel that goes several ways: an envelope that is lost on two of them is one
    /// lost envelope to its producer.
    #[must_use]
    pub fn by_way(&self, way: usize) -> Self {
        Self {
            batch: self.batch.clone(),
            receipts: self.receipts.iter().map(|receipt| receipt.by_way(way)).collect(),
        }
    }

    /// Tells the producers, where they wait for it, that `count` envelopes of this parcel are lost.
    ///
    /// Of a parcel that was put together of several messages, the first ones stand for the envelopes that are lost, each for
    /// as many as it has in it.
    pub fn note_lost(&self, mut count: u64) {
        for receipt in &self.receipts {
            let part = receipt.part_of(count);
            receipt.note_lost(part);
            count -= part;
            if count == 0 {
                break;
            }
        }
    }
}
