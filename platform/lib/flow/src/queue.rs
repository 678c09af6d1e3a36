//! A bounded queue that is fair to its sources.
//!
//! A push is cheap and never waits: it changes two counters and a ring buffer. Only when a bound is exceeded, the
//! envelopes of each source are counted, and the room is shared out by water-filling: each source may keep up to a
//! common level, and those above it lose their oldest envelopes. A source below the level loses nothing, however much
//! others send. One such pass frees an eighth of the capacity, so that its cost is spread over thousands of pushes.

use std::collections::VecDeque;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Parcel;

/// The bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// The greatest number of envelopes.
    pub envelopes: usize,
    /// The greatest size of all encoded envelopes, in bytes.
    pub bytes: usize,
}

/// The envelopes that one source lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The source that lost them.
    pub source_id: String,
    /// The number of lost envelopes.
    pub count: u64,
}

/// A bounded queue of parcels for one reader and any number of writers.
#[derive(Debug)]
pub struct FairQueue {
    capacity: Capacity,
    state: Mutex<State>,
    /// Notified when an empty queue gets a parcel.
    filled: Notify,
    /// Notified when the queue reaches [`WORTH_SENDING`].
    worth_sending: Notify,
}

/// The size from which on a batch is worth sending at once: 100 envelopes, or 64 KiB.
const WORTH_SENDING: Capacity = Capacity {
    envelopes: 100,
    bytes: 64 * 1024,
};

#[derive(Debug, Default)]
struct State {
    parcels: VecDeque<Parcel>,
    envelopes: usize,
    bytes: usize,
    closed: bool,
}

impl State {
    fn exceeds(&self, capacity: Capacity) -> bool {
        self.envelopes > capacity.envelopes || self.bytes > capacity.bytes
    }

    const fn reaches(&self, amount: Capacity) -> bool {
        self.envelopes >= amount.envelopes || self.bytes >= amount.bytes
    }

    fn take_front(&mut self) -> Option<Parcel> {
        let parcel = self.parcels.pop_front()?;
        self.envelopes -= parcel.batch.len();
        self.bytes -= parcel.batch.byte_len();
        Some(parcel)
    }
}

impl FairQueue {
    /// Returns an empty queue.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
            filled: Notify::new(),
            worth_sending: Notify::new(),
        }
    }

    /// Appends a parcel; returns the envelopes that were dropped to make room for it. If the queue is closed, the
    /// parcel itself is dropped.
    #[must_use = "losses must be counted"]
    pub fn push(&self, parcel: Parcel) -> Vec<Loss> {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return losses_of(&parcel);
        }
        let (was_empty, was_worth) = (state.parcels.is_empty(), state.reaches(WORTH_SENDING));
        state.envelopes += parcel.batch.len();
        state.bytes += parcel.batch.byte_len();
        state.parcels.push_back(parcel);
        let losses = if state.exceeds(self.capacity) {
            shed(&mut state, self.capacity)
        } else {
            Vec::new()
        };
        let is_worth = state.reaches(WORTH_SENDING);
        drop(state);
        // Waking the reader costs more than the push, so it is woken only when one of its conditions becomes true. This
        // happens after the lock is released, so that the reader does not wait for it.
        if was_empty {
            self.filled.notify_one();
        }
        if is_worth && !was_worth {
            self.worth_sending.notify_one();
        }
        losses
    }

    /// Removes and returns the oldest parcels: at least one, and no more than the bounds allow; `None` if there are
    /// none.
    #[must_use]
    pub fn try_pop(&self, max_envelopes: usize, max_bytes: usize) -> Option<Vec<Parcel>> {
        let mut state = self.state.lock();
        let first = state.take_front()?;
        let (mut envelopes, mut bytes) = (first.batch.len(), first.batch.byte_len());
        let mut popped = vec![first];
        while let Some(next) = state.parcels.front() {
            envelopes += next.batch.len();
            bytes += next.batch.byte_len();
            if envelopes > max_envelopes || bytes > max_bytes {
                break;
            }
            popped.extend(state.take_front());
        }
        Some(popped)
    }

    /// Waits for parcels, and removes them as [`FairQueue::try_pop`] does; `None` once the queue is closed and empty.
    ///
    /// Cancel safe: no parcel is removed unless it is returned.
    pub async fn pop(&self, max_envelopes: usize, max_bytes: usize) -> Option<Vec<Parcel>> {
        loop {
            if let Some(parcels) = self.try_pop(max_envelopes, max_bytes) {
                return Some(parcels);
            }
            if self.is_closed() {
                return None;
            }
            // A notification that comes between the check and this wait is kept, so none is missed.
            self.filled.notified().await;
        }
    }

    /// Waits until an empty queue got a parcel, or the queue was closed. It may return early. Cancel safe.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Waits until the queue got a batch that is worth sending at once, or was closed. It may return early. Cancel
    /// safe.
    pub async fn worth_sending(&self) {
        self.worth_sending.notified().await;
    }

    /// Whether the queue holds a batch that is worth sending at once.
    #[must_use]
    pub fn is_worth_sending(&self) -> bool {
        self.state.lock().reaches(WORTH_SENDING)
    }

    /// Closes the queue: further parcels are refused, and queued ones can still be removed.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.wake();
    }

    fn wake(&self) {
        self.filled.notify_one();
        self.worth_sending.notify_one();
    }

    /// Whether the queue was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Closes and empties the queue; returns the envelopes that were dropped.
    #[must_use = "losses must be counted"]
    pub fn abandon(&self) -> Vec<Loss> {
        let mut state = self.state.lock();
        state.closed = true;
        let parcels = std::mem::take(&mut state.parcels);
        (state.envelopes, state.bytes) = (0, 0);
        drop(state);
        self.wake();
        merge(parcels.iter().flat_map(losses_of))
    }

    /// Releases *taken* for all queued parcels, so that this queue no longer delays the acknowledgement of producers
    /// that wait for it.
    pub fn release_taken(&self) {
        let mut state = self.state.lock();
        for receipt in state.parcels.iter_mut().flat_map(|parcel| &mut parcel.receipts) {
            receipt.release_taken();
        }
    }

    /// The number of queued envelopes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().envelopes
    }

    /// The size of all queued envelopes, in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.state.lock().bytes
    }

    /// Whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.lock().parcels.is_empty()
    }
}

impl Parcel {
    /// Returns the losses if this parcel is dropped, and notes them in its receipts.
    #[must_use = "losses must be counted"]
    pub fn lose(&self) -> Vec<Loss> {
        losses_of(self)
    }
}

fn losses_of(parcel: &Parcel) -> Vec<Loss> {
    parcel.note_lost(parcel.batch.len() as u64);
    merge(parcel.batch.iter().map(|envelope| Loss {
        source_id: envelope.source_id().to_owned(),
        count: 1,
    }))
}

fn merge(losses: impl Iterator<Item = Loss>) -> Vec<Loss> {
    let mut by_source: AHashMap<String, u64> = AHashMap::new();
    for loss in losses {
        *by_source.entry(loss.source_id).or_default() += loss.count;
    }
    by_source
        .into_iter()
        .map(|(source_id, count)| Loss { source_id, count })
        .collect()
}

/// The part of a bound that one source uses, and by how much it exceeds the level.
struct Share {
    held: u64,
    excess: u64,
}

/// Drops the oldest envelopes of the sources that hold the most, until an eighth of the capacity is free.
fn shed(state: &mut State, capacity: Capacity) -> Vec<Loss> {
    // Sources are weighed by the bound that is exceeded.
    let by_bytes = state.bytes > capacity.bytes;
    let bound = if by_bytes { capacity.bytes } else { capacity.envelopes };
    let weight = |len: usize| if by_bytes { len as u64 } else { 1 };

    let mut shares: AHashMap<u32, Share> = AHashMap::new();
    for parcel in &state.parcels {
        for envelope in parcel.batch.iter() {
            shares
                .entry(envelope.source_hash())
                .or_insert(Share { held: 0, excess: 0 })
                .held += weight(envelope.field().len());
        }
    }
    let level = water_level(
        shares.values().map(|share| share.held).collect(),
        (bound - bound / 8) as u64,
    );
    for share in shares.values_mut() {
        share.excess = share.held.saturating_sub(level);
    }

    let mut lost: AHashMap<u32, Loss> = AHashMap::new();
    for parcel in &mut state.parcels {
        let mut kept = Vec::with_capacity(parcel.batch.len());
        let mut dropped = 0;
        for (index, envelope) in (0u32..).zip(parcel.batch.iter()) {
            let hash = envelope.source_hash();
            match shares.get_mut(&hash) {
                // Parcels are in the order of arrival, so these are the oldest envelopes of the source.
                Some(share) if share.excess > 0 => {
                    share.excess = share.excess.saturating_sub(weight(envelope.field().len()));
                    dropped += 1;
                    lost.entry(hash)
                        .or_insert_with(|| Loss {
                            source_id: envelope.source_id().to_owned(),
                            count: 0,
                        })
                        .count += 1;
                }
                _ => kept.push(index),
            }
        }
        if dropped > 0 {
            parcel.note_lost(dropped);
            parcel.batch = parcel
                .batch
                .pick(&kept)
                .unwrap_or_else(weir_envelope::batch::Batch::empty);
        }
    }
    // An empty parcel is removed with its receipts, which settles its messages: their envelopes are counted as lost.
    state.parcels.retain(|parcel| !parcel.batch.is_empty());
    state.envelopes = state.parcels.iter().map(|parcel| parcel.batch.len()).sum();
    state.bytes = state.parcels.iter().map(|parcel| parcel.batch.byte_len()).sum();
    lost.into_values().collect()
}

/// Returns the highest level for which the sum of `min(held, level)` is at most `room`.
fn water_level(mut held: Vec<u64>, room: u64) -> u64 {
    held.sort_unstable();
    let mut left = room;
    let mut sources = held.len() as u64;
    for amount in held {
        let fair = left / sources;
        // All further sources hold at least as much, so each of them is cut to the fair share.
        if amount > fair {
            return fair;
        }
        left -= amount;
        sources -= 1;
    }
    u64::MAX
}

#[cfg(test)]
mod tests;
