//! Packs parcels into messages of a suitable size: small parcels are merged, and large ones are split.

use std::collections::VecDeque;

use weir_envelope::batch::BatchBuilder;
use weir_flow::{Ledger, Parcel, Reason};

/// The largest number of envelopes in a message that is merged from several parcels.
pub(super) const MAX_ENVELOPES: usize = 1000;
/// The largest number of bytes in a message that is merged from several parcels.
pub(super) const MAX_BYTES: usize = 512 << 10;

/// The size in bytes above which a parcel is split. It leaves room below [`MAX_MESSAGE`] for default tags that a peer adds.
const LARGE: usize = 4 << 20;

/// The size in bytes of the largest message that a peer accepts (logging §17).
const MAX_MESSAGE: usize = 10 << 20;

/// The size in bytes from which a parcel is sent as it is. Copying it into a larger message would cost more than it saves.
const WORTH_SENDING: usize = 16 << 10;

/// Packs `parcels` into messages and appends these to `out`, in order. If there are several parcels, their sum must be
/// within [`MAX_ENVELOPES`] and [`MAX_BYTES`]. Envelopes that are too large for any message are counted at `hop`.
pub(super) fn pack(parcels: Vec<Parcel>, hop: &'static str, ledger: &Ledger, out: &mut VecDeque<Parcel>) {
    let mut small = Vec::new();
    for parcel in parcels {
        let bytes = parcel.batch.byte_len();
        if bytes < WORTH_SENDING {
            small.push(parcel);
            continue;
        }
        // What came before this parcel has to leave before it.
        out.extend(merge(&mut small));
        if bytes <= LARGE {
            out.push_back(parcel);
        } else {
            cut_up(&parcel, hop, ledger, out);
        }
    }
    out.extend(merge(&mut small));
}

/// Merges all of `parcels` into one and leaves the vector empty.
// A single parcel needs no copy.
fn merge(parcels: &mut Vec<Parcel>) -> Option<Parcel> {
    if parcels.len() < 2 {
        return parcels.pop();
    }
    let mut builder = BatchBuilder::new();
    builder.reserve(
        parcels.iter().map(|parcel| parcel.batch.len()).sum(),
        parcels.iter().map(|parcel| parcel.batch.byte_len()).sum(),
    );
    let mut receipts = Vec::new();
    for parcel in parcels.drain(..) {
        parcel.batch.iter().for_each(|envelope| builder.push_raw(envelope));
        let envelopes = parcel.batch.len();
        receipts.extend(parcel.receipts.into_iter().map(|receipt| receipt.of_part(envelopes)));
    }
    Some(Parcel {
        batch: builder.finish(),
        receipts,
    })
}

/// Splits `parcel` into parts of at most [`LARGE`] bytes, unless one envelope alone is larger than that.
fn cut_up(parcel: &Parcel, hop: &'static str, ledger: &Ledger, out: &mut VecDeque<Parcel>) {
    let mut part = Vec::new();
    let mut bytes = 0;
    let mut flush = |part: &mut Vec<u32>| {
        if let Some(batch) = parcel.batch.pick(part) {
            out.push_back(Parcel {
                batch,
                // Every part holds the receipts, so that they are settled with the last part.
                receipts: parcel.receipts.clone(),
            });
        }
        part.clear();
    };
    for (index, envelope) in (0u32..).zip(parcel.batch.iter()) {
        let len = envelope.field().len();
        // The receiver would end the link at such a message, and with it everything else in flight.
        if len > MAX_MESSAGE {
            ledger.dropped(hop, Reason::TooLarge, envelope.source_id(), 1);
            parcel.note_lost(1);
            continue;
        }
        if bytes + len > LARGE {
            flush(&mut part);
            bytes = 0;
        }
        part.push(index);
        bytes += len;
    }
    flush(&mut part);
}

#[cfg(test)]
mod tests {
    use weir_envelope::encode::Writer;
    use weir_envelope::view::Stream;
    use weir_flow::Tracker;

    use super::*;

    fn parcel(sizes: &[usize]) -> Parcel {
        let mut builder = BatchBuilder::new();
        for &size in sizes {
            builder.push_with(|out| {
                Writer::new(out).source_id("app").log(&vec![b'x'; size], Stream::Out);
            });
        }
        Parcel::unacknowledged(builder.finish())
    }

    fn packed(parcels: Vec<Parcel>, ledger: &Ledger) -> VecDeque<Parcel> {
        let mut out = VecDeque::new();
        pack(parcels, "egress", ledger, &mut out);
        out
    }

    /// Small parcels become one message in their order, and the message settles the receipts of all of them.
    #[test]
    fn small_parcels_are_put_together() {
        let tracker = Tracker::new();
        let mut parcels = vec![parcel(&[1, 2]), parcel(&[3]), parcel(&[4])];
        for (number, parcel) in (1..).zip(&mut parcels) {
            parcel.receipts.push(tracker.receipt(number));
        }
        let ledger = Ledger::in_memory("loggregator-agent");
        let out = packed(parcels, &ledger);
        assert_eq!(out.len(), 1);
        let sizes: Vec<_> = out[0].batch.iter().map(|envelope| envelope.bytes().len()).collect();
        assert!(sizes.is_sorted() && sizes.len() == 4, "{sizes:?}");
        assert_eq!(tracker.progress().handed_on, 0);
        // The first receipt stands for two envelopes and the next for one. Each gets its own part of the loss.
        out[0].note_lost(3);
        drop(out);
        assert_eq!(tracker.progress().handed_on, 3);
        assert_eq!(tracker.progress().lost, 3);
    }

    /// A parcel of a good size is not copied, and the small parcels before and after it keep their order.
    #[test]
    fn good_parcels_are_not_copied() {
        let good = parcel(&[20_000]);
        let bytes = good.batch.bytes().as_ptr();
        let parcels = vec![parcel(&[1]), parcel(&[2]), good, parcel(&[3])];
        let out = packed(parcels, &Ledger::in_memory("loggregator-agent"));
        assert_eq!(
            out.iter().map(|parcel| parcel.batch.len()).collect::<Vec<_>>(),
            [2, 1, 1]
        );
        assert_eq!(out[1].batch.bytes().as_ptr(), bytes);
    }

    /// An envelope that no peer accepts is counted. The others are sent in parts, and the last part settles the receipt.
    #[test]
    fn large_parcels_are_cut_up() {
        let tracker = Tracker::new();
        let mut large = parcel(&[3 << 20, 2 << 20, 11 << 20, 1]);
        large.receipts.push(tracker.receipt(1));
        let ledger = Ledger::in_memory("loggregator-agent");
        let mut out = packed(vec![large], &ledger);
        assert_eq!(out.iter().map(|parcel| parcel.batch.len()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(ledger.snapshot().dropped[0].reason, "too_large");
        out.pop_front();
        assert_eq!(tracker.progress().handed_on, 0);
        out.pop_front();
        assert_eq!(tracker.progress().handed_on, 1);
    }
}
