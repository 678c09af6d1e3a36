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

    /// Tells the producers, where they wait for it, that `count` envelopes of this parcel are lost.
    ///
    /// A parcel made of several messages cannot say whose they were; the first one stands for all.
    pub fn note_lost(&self, count: u64) {
        if let Some(receipt) = self.receipts.first() {
            receipt.note_lost(count);
        }
    }
}
