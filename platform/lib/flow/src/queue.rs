//! The bounded queue that is fair to its sources.
//!
//! Pushing is cheap and never waits: two counters and a ring. Only when a bound is exceeded the queue looks inside, and
//! shares what there is room for out among the sources by water-filling: each may keep up to the same level, and those
//! above it lose their oldest. A source below the level loses nothing, however loud its neighbours are. One such pass
//! frees an eighth of the capacity, so that its cost is spread over thousands of pushes.

use std::collections::VecDeque;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Parcel;

/// The bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Most envelopes held.
    pub envelopes: usize,
    /// Most bytes of encoded envelopes held.
    pub bytes: usize,
}

/// Envelopes that an overflow cost one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Who lost them.
    pub source_id: String,
    /// How many.
    pub count: u64,
}

/// A bounded queue of parcels for one reader and any number of writers.
#[derive(Debug)]
pub struct FairQueue {
    capacity: Capacity,
    state: Mutex<State>,
    /// It was empty and is not any more.
    filled: Notify,
    /// It came to hold [`WORTH_SENDING`].
    worth_sending: Notify,
}

/// From here on a batch is worth sending at once: 100 envelopes, or 64 KiB of them.
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
    /// An empty queue.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
            filled: Notify::new(),
            worth_sending: Notify::new(),
        }
    }

    /// Appends a parcel; returns what had to go to make room for it. Once the queue is closed, that is the parcel itself.
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
        // Waking the reader costs more than the push: only for what it waits for.
        if was_empty {
            self.filled.notify_one();
        }
        if is_worth && !was_worth {
            self.worth_sending.notify_one();
        }
        losses
    }

    /// Takes the oldest parcels, at least one and otherwise no more than fit the bounds; `None` if there are none.
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

    /// Waits for parcels and takes them as [`FairQueue::try_pop`] does; `None` once the queue is closed and empty.
    ///
    /// Cancel safe: nothing is taken unless it is returned.
    pub async fn pop(&self, max_envelopes: usize, max_bytes: usize) -> Option<Vec<Parcel>> {
        loop {
            if let Some(parcels) = self.try_pop(max_envelopes, max_bytes) {
                return Some(parcels);
            }
            if self.is_closed() {
                return None;
            }
            self.filled.notified().await;
        }
    }

    /// Waits until the queue came to hold something, or was closed. May return early. Cancel safe.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Waits until the queue came to hold a batch that is worth sending at once, or was closed. May return early. Cancel
    /// safe.
    pub async fn worth_sending(&self) {
        self.worth_sending.notified().await;
    }

    /// Whether it holds a batch that is worth sending at once.
    #[must_use]
    pub fn is_worth_sending(&self) -> bool {
        self.state.lock().reaches(WORTH_SENDING)
    }

    /// Refuses further parcels; what is queued can still be taken.
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

    /// Closes the queue and empties it; returns what was in it.
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

    /// Lets go of *taken* for everything held: producers are no longer kept waiting for it.
    pub fn release_taken(&self) {
        let mut state = self.state.lock();
        for receipt in state.parcels.iter_mut().flat_map(|parcel| &mut parcel.receipts) {
            receipt.release_taken();
        }
    }

    /// Envelopes held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().envelopes
    }

    /// Bytes held.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.state.lock().bytes
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.lock().parcels.is_empty()
    }
}

impl Parcel {
    /// What losing this parcel costs each source; tells the producers as well.
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

/// What one source holds, and may hold, of a bound.
struct Share {
    held: u64,
    excess: u64,
}

/// Frees an eighth of the capacity at the cost of the sources that hold the most.
fn shed(state: &mut State, capacity: Capacity) -> Vec<Loss> {
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
    // An emptied parcel goes, and with it its receipts: what it stood for is counted.
    state.parcels.retain(|parcel| !parcel.batch.is_empty());
    state.envelopes = state.parcels.iter().map(|parcel| parcel.batch.len()).sum();
    state.bytes = state.parcels.iter().map(|parcel| parcel.batch.byte_len()).sum();
    lost.into_values().collect()
}

/// The highest level such that the sum of `min(held, level)` is at most `room`.
fn water_level(mut held: Vec<u64>, room: u64) -> u64 {
    held.sort_unstable();
    let mut left = room;
    let mut sources = held.len() as u64;
    for amount in held {
        let fair = left / sources;
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
