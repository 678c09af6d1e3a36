use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::wire::{put_bytes, put_uint};

use super::{Capacity, FairQueue, Loss, water_level};
use crate::{Parcel, Tracker};

fn batch(source_id: &str, numbers: std::ops::Range<u64>) -> Batch {
    let mut builder = BatchBuilder::new();
    for number in numbers {
        builder.push_with(|envelope| {
            put_uint(envelope, 1, number + 1);
            put_bytes(envelope, 2, source_id.as_bytes());
        });
    }
    builder.finish()
}

fn parcel(source_id: &str, numbers: std::ops::Range<u64>) -> Parcel {
    Parcel::unacknowledged(batch(source_id, numbers))
}

fn drain(queue: &FairQueue, source_id: &str) -> Vec<i64> {
    let mut timestamps = Vec::new();
    while let Some(parcels) = queue.try_pop(usize::MAX, usize::MAX) {
        for parcel in parcels {
            timestamps.extend(
                parcel
                    .batch
                    .iter()
                    .filter(|envelope| envelope.source_id() == source_id)
                    .map(|envelope| envelope.view().timestamp() - 1),
            );
        }
    }
    timestamps
}

/// In a queue of 80 envelopes, a single source loses its oldest envelopes and keeps the newest, in order.
#[test]
fn overflow_drops_the_oldest() {
    let queue = FairQueue::new(Capacity {
        envelopes: 80,
        bytes: usize::MAX,
    });
    assert!(queue.push(parcel("a", 0..80)).is_empty());
    assert_eq!(
        queue.push(parcel("a", 80..90)),
        [Loss {
            source_id: "a".into(),
            count: 20
        }]
    );
    assert_eq!(drain(&queue, "a"), (20..90).collect::<Vec<_>>());
}

/// A source that sends a hundred times as much as the others is the only one that loses envelopes.
#[test]
fn quiet_sources_lose_nothing() {
    let queue = FairQueue::new(Capacity {
        envelopes: 1000,
        bytes: usize::MAX,
    });
    let mut noisy_lost = 0;
    for round in 0..100 {
        let mut losses = queue.push(parcel("noisy", round * 100..(round + 1) * 100));
        losses.extend(queue.push(parcel("quiet", round..round + 1)));
        for loss in losses {
            assert_eq!(loss.source_id, "noisy");
            noisy_lost += loss.count;
        }
    }
    assert_eq!(queue.len() as u64 + noisy_lost, 100 * 101);
    assert_eq!(drain(&queue, "quiet"), (0..100).collect::<Vec<_>>());
}

/// The bound in bytes holds too, and weighs envelopes by their size.
#[test]
fn bytes_are_bounded_too() {
    let one = batch("a", 0..1).byte_len();
    let queue = FairQueue::new(Capacity {
        envelopes: usize::MAX,
        bytes: one * 64,
    });
    for number in 0..1000 {
        let _lost = queue.push(parcel("a", number % 100..number % 100 + 1));
        assert!(queue.byte_len() <= one * 64);
    }
}

/// A parcel that an overflow empties drops its receipt. One that loses only a part keeps it, and its loss is reported
/// when the message is *taken*.
#[test]
fn receipts_settle_when_their_envelopes_are_counted() {
    let tracker = Tracker::new();
    let queue = FairQueue::new(Capacity {
        envelopes: 8,
        bytes: usize::MAX,
    });
    for (sequence, numbers) in [(1, 0..2), (2, 2..8), (3, 8..10)] {
        let _lost = queue.push(Parcel {
            batch: batch("a", numbers),
            receipts: vec![tracker.receipt(sequence)],
        });
    }
    let progress = tracker.progress();
    assert_eq!((progress.taken, progress.lost), (1, 2));
    drop(queue.try_pop(usize::MAX, usize::MAX));
    let progress = tracker.progress();
    assert_eq!((progress.handed_on, progress.taken, progress.lost), (3, 3, 3));
}

/// A closed queue returns the envelopes that it refuses, and an abandoned one all that it held.
#[test]
fn a_closed_queue_returns_what_is_lost() {
    let queue = FairQueue::new(Capacity {
        envelopes: 100,
        bytes: usize::MAX,
    });
    let _lost = queue.push(parcel("a", 0..3));
    assert_eq!(
        queue.abandon(),
        [Loss {
            source_id: "a".into(),
            count: 3
        }]
    );
    assert_eq!(
        queue.push(parcel("b", 0..2)),
        [Loss {
            source_id: "b".into(),
            count: 2
        }]
    );
}

/// A pop keeps its bounds, except that it always returns one parcel.
#[test]
fn pop_keeps_its_bounds() {
    let queue = FairQueue::new(Capacity {
        envelopes: 100,
        bytes: usize::MAX,
    });
    for _ in 0..3 {
        let _lost = queue.push(parcel("a", 0..10));
    }
    assert_eq!(queue.try_pop(5, usize::MAX).map(|parcels| parcels.len()), Some(1));
    assert_eq!(queue.try_pop(20, usize::MAX).map(|parcels| parcels.len()), Some(2));
    assert!(queue.try_pop(1, 1).is_none());
}

#[test]
fn the_water_level_is_the_highest_that_fits() {
    assert_eq!(water_level(vec![1, 2, 100], 50), 47);
    assert_eq!(water_level(vec![10, 10], 10), 5);
    assert_eq!(water_level(vec![1, 2], 10), u64::MAX);
}
