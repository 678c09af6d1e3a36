//! The envelopes that wait for one drain in memory.
//!
//! The router pushes and the drain's task takes; neither waits for the other. A queue is bounded in envelopes, in
//! bytes, and by a fair share of what all queues together may hold ([`Memory`]). The task normally moves what it cannot
//! deliver to disk long before a bound is reached. If it cannot, the oldest parcels are discarded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use weir_flow::{Capacity, Loss, Parcel};

/// The amount from which a shipment is sent without waiting for more.
pub(super) const WORTH: Capacity = Capacity {
    envelopes: 100,
    bytes: 64 << 10,
};

/// The memory that all queues use together.
#[derive(Debug)]
pub(crate) struct Memory {
    total: usize,
    used: AtomicUsize,
    /// The number of queues that are not empty.
    holders: AtomicUsize,
}

impl Memory {
    /// Creates a limit of `total` bytes for all queues together.
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            used: AtomicUsize::new(0),
            holders: AtomicUsize::new(0),
        })
    }

    /// Returns how many bytes one queue may hold now, if `of` bytes are available: all while there is room, else an
    /// equal part.
    fn share(&self, of: usize) -> usize {
        // While memory is plentiful, a drain may use as much as its own capacity allows.
        if self.used.load(Ordering::Relaxed) <= of {
            return usize::MAX;
        }
        of / self.holders.load(Ordering::Relaxed).max(1)
    }

    fn add(&self, bytes: usize, was_empty: bool) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        if was_empty {
            self.holders.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn remove(&self, bytes: usize, is_empty: bool) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if is_empty {
            self.holders.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A parcel and the time at which it was pushed.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) parcel: Parcel,
    pub(crate) since: Instant,
}

impl Waiting {
    pub(super) fn envelopes(&self) -> usize {
        self.parcel.batch.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.parcel.batch.byte_len()
    }
}

/// The queue of one drain.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    capacity: Capacity,
    memory: Arc<Memory>,
    /// Notified when the queue becomes non-empty, worth sending, or crowded, or ceases to be so.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    parcels: VecDeque<Waiting>,
    envelopes: usize,
    bytes: usize,
    closed: bool,
}

impl State {
    fn reaches(&self, envelopes: usize, bytes: usize) -> bool {
        self.envelopes >= envelopes || self.bytes >= bytes
    }

    fn pop(&mut self) -> Option<Waiting> {
        let first = self.parcels.pop_front()?;
        self.envelopes -= first.envelopes();
        self.bytes -= first.bytes();
        Some(first)
    }
}

/// The amount that waits in a queue.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) envelopes: usize,
    pub(crate) bytes: usize,
    pub(crate) oldest: Option<Instant>,
}

impl Held {
    pub(super) const fn is_worth_sending(&self) -> bool {
        self.envelopes >= WORTH.envelopes || self.bytes >= WORTH.bytes
    }
}

impl Queue {
    pub(crate) fn new(capacity: Capacity, memory: Arc<Memory>) -> Self {
        Self {
            state: Mutex::default(),
            capacity,
            memory,
            changed: Notify::new(),
        }
    }

    /// Appends a parcel. Returns the losses that made room for it; their receipts are released.
    #[must_use = "losses must be counted"]
    pub(crate) fn push(&self, parcel: Parcel, now: Instant) -> Vec<Loss> {
        let (envelopes, bytes) = (parcel.batch.len(), parcel.batch.byte_len());
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return parcel.lose();
        }
        let was_empty = state.parcels.is_empty();
        // Compared with the values after the push, so that the task is woken at the moment in which one of them
        // changes.
        let before = (state.is_worth_sending(), self.is_crowded_at(&state));
        state.envelopes += envelopes;
        state.bytes += bytes;
        state.parcels.push_back(Waiting { parcel, since: now });
        self.memory.add(bytes, was_empty);
        let share = self.capacity.bytes.min(self.memory.share(self.memory.total));
        let mut shed = Vec::new();
        // A single parcel larger than the limits is kept, or it could never be sent.
        while (state.envelopes > self.capacity.envelopes || state.bytes > share) && state.parcels.len() > 1 {
            let Some(oldest) = state.pop() else { break };
            self.memory.remove(oldest.bytes(), false);
            shed.push(oldest);
        }
        let after = (state.is_worth_sending(), self.is_crowded_at(&state));
        drop(state);
        // Waking the task costs more than pushing a parcel, so it is woken only for changes that it acts on.
        if was_empty || before != after {
            self.changed.notify_one();
        }
        shed.iter().flat_map(|waiting| waiting.parcel.lose()).collect()
    }

    /// Closes the queue. Parcels that are pushed from now on are lost.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Moves the oldest parcels to `into`: at least one, and otherwise no more than fit the bounds.
    pub(crate) fn take(&self, max_envelopes: usize, max_bytes: usize, into: &mut VecDeque<Waiting>) {
        let mut state = self.state.lock();
        let (mut envelopes, mut bytes) = (0, 0);
        while let Some(next) = state.parcels.front() {
            envelopes += next.envelopes();
            // At least one parcel is taken, however large it is.
            if bytes > 0 && (envelopes > max_envelopes || bytes + next.bytes() > max_bytes) {
                break;
            }
            bytes += next.bytes();
            into.extend(state.pop());
        }
        if bytes > 0 || envelopes > 0 {
            self.memory.remove(bytes, state.parcels.is_empty());
        }
    }

    /// Puts parcels that were taken and could not be written back in front, in their order.
    pub(crate) fn put_back(&self, parcels: impl DoubleEndedIterator<Item = Waiting>) {
        let mut state = self.state.lock();
        // In reverse order to the front, so that the first one is in front again.
        for waiting in parcels.rev() {
            let was_empty = state.parcels.is_empty();
            state.envelopes += waiting.envelopes();
            state.bytes += waiting.bytes();
            self.memory.add(waiting.bytes(), was_empty);
            state.parcels.push_front(waiting);
        }
    }

    /// Returns how much waits.
    pub(crate) fn held(&self) -> Held {
        let state = self.state.lock();
        Held {
            envelopes: state.envelopes,
            bytes: state.bytes,
            oldest: state.parcels.front().map(|waiting| waiting.since),
        }
    }

    /// Returns whether so much waits that it should be moved to disk, even if the drain is working.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded_at(&self.state.lock())
    }

    fn is_crowded_at(&self, state: &State) -> bool {
        // At half of the capacity, spilling begins, so that the disk has time before parcels are lost.
        state.reaches(self.capacity.envelopes / 2, self.capacity.bytes / 2)
            || state.bytes > self.memory.share(self.memory.total / 2)
    }

    /// Waits until the queue becomes non-empty, worth sending or crowded. May return early. Cancel safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Releases the *taken* part of the receipts of parcels that were pushed before `deadline`. If the disk cannot be
    /// written to, producers must not wait for one drain.
    pub(crate) fn release_taken(&self, deadline: Instant) {
        let mut state = self.state.lock();
        for waiting in state.parcels.iter_mut().take_while(|waiting| waiting.since < deadline) {
            waiting
                .parcel
                .receipts
                .iter_mut()
                .for_each(weir_flow::Receipt::release_taken);
        }
    }
}

impl State {
    fn is_worth_sending(&self) -> bool {
        self.reaches(WORTH.envelopes, WORTH.bytes)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if !state.parcels.is_empty() {
            self.memory.remove(state.bytes, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_envelope::batch::BatchBuilder;
    use weir_envelope::encode::Writer;
    use weir_envelope::view::Stream;
    use weir_flow::Tracker;
    use weir_service::clock;

    use super::*;

    fn parcel(count: usize, size: usize) -> Parcel {
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            builder.push_with(|out| {
                Writer::new(out).source_id("app").log(&vec![b'x'; size], Stream::Out);
            });
        }
        Parcel::unacknowledged(builder.finish())
    }

    fn queue(envelopes: usize, bytes: usize, memory: &Arc<Memory>) -> Queue {
        Queue::new(Capacity { envelopes, bytes }, Arc::clone(memory))
    }

    fn lost(losses: &[Loss]) -> u64 {
        losses.iter().map(|loss| loss.count).sum()
    }

    /// A full queue discards its oldest parcels, counts them and releases their receipts. The others are taken in
    /// order.
    #[test]
    fn the_oldest_go() {
        let memory = Memory::new(usize::MAX);
        let queue = queue(100, usize::MAX, &memory);
        let tracker = Tracker::new();
        let mut total = 0;
        for number in 1..=15 {
            let mut parcel = parcel(10, 10);
            parcel.receipts.push(tracker.receipt(number));
            total += lost(&queue.push(parcel, clock::instant()));
        }
        assert_eq!((total, queue.held().envelopes), (50, 100));
        assert_eq!((tracker.progress().handed_on, tracker.progress().lost), (5, 50));
        let mut taken = VecDeque::new();
        queue.take(25, usize::MAX, &mut taken);
        assert_eq!(taken.len(), 2);
        queue.put_back(taken.drain(..));
        queue.take(usize::MAX, usize::MAX, &mut taken);
        assert_eq!((taken.len(), queue.held().envelopes), (10, 0));
        assert!(taken.iter().map(|waiting| waiting.since).is_sorted());
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }

    /// A parcel that is larger than every bound is still accepted. The next parcel displaces it.
    #[test]
    fn the_newest_is_always_taken() {
        let memory = Memory::new(1000);
        let queue = queue(5, 1000, &memory);
        assert!(queue.push(parcel(10, 1000), clock::instant()).is_empty());
        assert!(queue.is_crowded());
        assert_eq!(lost(&queue.push(parcel(1, 10), clock::instant())), 10);
        assert_eq!(queue.held().envelopes, 1);
    }

    /// If all queues together are full, a queue that holds more than its share loses parcels, and others do not.
    #[test]
    fn memory_is_shared_fairly() {
        let memory = Memory::new(100_000);
        let (hog, quiet) = (queue(10_000, usize::MAX, &memory), queue(10_000, usize::MAX, &memory));
        let mut hog_lost = 0;
        for round in 0..200 {
            hog_lost += lost(&hog.push(parcel(1, 1000), clock::instant()));
            if round % 10 == 0 {
                assert!(quiet.push(parcel(1, 1000), clock::instant()).is_empty());
            }
        }
        assert!(hog_lost > 50, "{hog_lost}");
        assert_eq!(quiet.held().envelopes, 20);
        assert!(hog.is_crowded() && !quiet.is_crowded());
        assert!(memory.used.load(Ordering::Relaxed) <= 101_100);
        drop((hog, quiet));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        assert_eq!(memory.holders.load(Ordering::Relaxed), 0);
    }
}
