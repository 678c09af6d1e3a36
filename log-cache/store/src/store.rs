//! The store: one lock around the table of sources and the lanes, and the functions that write.
//!
//! The lock is held for short work only: look-ups, appends of prepared rows, sealing a few thousand rows, and replacing
//! chunks in a list. Chunks are immutable, so readers and the maintenance work on them without the lock.

use std::sync::Arc;

use ahash::RandomState;
use parking_lot::{Mutex, MutexGuard};
use weir_envelope::batch::{Batch, Kind};
use weir_service::clock::Clock;

use crate::ingest::{Prepared, Preparer};
use crate::lane::Lane;
use crate::limits::{Class, Limits, Sizing};
use crate::maintain::Signal;
use crate::numbering::Numbering;
use crate::rows::Rows;
use crate::source::Registry;
use crate::tap::{CountVisible, Tap};
use crate::timestamps::TimestampAllocator;

/// How many recent timestamps are remembered for each row that an active part can hold.
const RECENT_PER_ACTIVE: usize = 8;

/// An in-memory store of envelopes. Clones share one store.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) limits: Limits,
    sizing: [Sizing; Class::ALL.len()],
    hasher: RandomState,
    pub(crate) core: Mutex<Core>,
    /// Held while chunks are evicted or merged, so that only one thread replaces existing chunks. It is always locked
    /// before `core`.
    pub(crate) maintenance: Mutex<()>,
    pub(crate) signal: Signal,
}

/// The state that the lock protects.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) registry: Registry,
    timestamps: TimestampAllocator,
    pub(crate) lanes: [Lane; Kind::ALL.len()],
    /// The number of the chunk that was sealed last, by which chunks of all kinds are ordered by age.
    born: u64,
    ingested: u64,
    expired: u64,
}

/// The result of ingesting a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ingested {
    /// The number of envelopes that were stored and are visible to every reader.
    pub stored: u64,
    /// The number of older envelopes that expired because their sources exceeded `max_per_source`.
    pub expired: u64,
}

/// Counts and sizes of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// The number of envelopes stored since the start.
    pub ingested: u64,
    /// The number of envelopes that expired since the start; `ingested - expired` are visible.
    pub expired: u64,
    /// The number of visible envelopes.
    pub held: u64,
    /// The number of known sources.
    pub sources: usize,
    /// The memory of logs, in bytes.
    pub logs_bytes: usize,
    /// The memory of metrics, in bytes.
    pub metrics_bytes: usize,
    /// The memory of the table of sources, in bytes.
    pub sources_bytes: usize,
    /// The smallest timestamp in a chunk, in nanoseconds since the Unix epoch; `None` without chunks.
    pub oldest_timestamp: Option<i64>,
}

impl Store {
    /// Returns an empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_clock(limits, Clock::system())
    }

    /// Returns an empty store with the given clock, at whose time the sequence numbers of sources begin.
    #[must_use]
    pub fn with_clock(limits: Limits, clock: Clock) -> Self {
        let sizing = Class::ALL.map(|class| limits.sizing(class));
        let lanes = Kind::ALL.map(|kind| Lane::new(kind, sizing[Class::of(kind) as usize]));
        let core = Core {
            registry: Registry::new(Numbering::new(clock)),
            timestamps: TimestampAllocator::new(sizing[0].active_rows * RECENT_PER_ACTIVE),
            lanes,
            born: 0,
            ingested: 0,
            expired: 0,
        };
        let inner = Inner {
            limits,
            sizing,
            hasher: RandomState::new(),
            core: Mutex::new(core),
            maintenance: Mutex::new(()),
            signal: Signal::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The limits of the store.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Stores the envelopes of `batch`. They are visible to every reader when this returns.
    ///
    /// If a budget is exhausted, the call makes room first, which the maintenance has usually done before. `refused` is
    /// called with the source id of each envelope that is larger than the store accepts.
    pub fn ingest(&self, batch: &Batch, mut refused: impl FnMut(&str)) -> Ingested {
        let mut preparer = Preparer::new(&self.inner.hasher, batch.len());
        let mut envelopes = batch.iter();
        let mut done = Ingested::default();
        while preparer.fill(&mut envelopes, &self.inner.sizing) {
            preparer
                .too_large
                .iter()
                .for_each(|envelope| refused(envelope.source_id()));
            let mut core = self.admit(preparer.costs);
            let mut wanted = false;
            for envelope in &preparer.envelopes {
                let (expired, sealed) = core.append(envelope, &preparer.scratch, self.inner.limits.max_per_source);
                done.stored += 1;
                done.expired += expired;
                wanted |= sealed;
            }
            // Published under the lock, so that followers get rows in the order of arrival.
            for kind in Kind::ALL {
                let lane = &mut core.lanes[kind.index()];
                lane.publish();
            }
            // Only after a chunk was sealed, because the check walks over all lanes.
            let wanted = wanted && core.wants_maintenance();
            drop(core);
            if wanted {
                self.request_maintenance();
            }
        }
        done
    }

    /// Waits until there is room for a slice of the given `costs`, and returns with the lock held.
    fn admit(&self, costs: [usize; Class::ALL.len()]) -> MutexGuard<'_, Core> {
        // A reclaim always makes room, but other writers may use it before this one has the lock again. The number of
        // attempts is bounded, so that the budget is exceeded by a slice rather than a writer waiting for ever.
        for _ in 0..64 {
            let core = self.inner.core.lock();
            match core.short_of(costs, &self.inner.limits) {
                // The lock is kept, so that no other writer takes the room before this one appends.
                None => return core,
                Some(shortage) => {
                    drop(core);
                    self.reclaim(shortage);
                }
            }
        }
        self.inner.core.lock()
    }

    /// Follows a kind: returns its rows from now on, through a queue of `capacity` batches.
    ///
    /// `count_visible` counts the rows of a batch that the follower may know of. It is called only for batches that
    /// found no room in the queue, while ingest waits.
    #[must_use]
    pub fn tap(
        &self,
        kind: Kind,
        capacity: usize,
        count_visible: impl Fn(&Rows) -> usize + Send + Sync + 'static,
    ) -> Tap {
        self.inner.core.lock().lanes[kind.index()].tap(capacity, CountVisible(Box::new(count_visible)))
    }

    /// Returns counts and sizes of the store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let core = self.inner.core.lock();
        let chunks = core.lanes.iter().flat_map(|lane| lane.chunks().iter());
        Stats {
            ingested: core.ingested,
            expired: core.expired,
            held: core.lanes.iter().map(Lane::live).sum(),
            sources: core.registry.len(),
            logs_bytes: core.class_bytes(Class::Logs),
            metrics_bytes: core.class_bytes(Class::Metrics),
            sources_bytes: core.registry.bytes(),
            oldest_timestamp: chunks.map(|chunk| chunk.time_range().0).min(),
        }
    }
}

/// The space that must be freed before a slice can be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The rows of a class take too much memory for another slice of this many bytes.
    Rows(Class, usize),
    /// The table of sources is full.
    Sources,
}

impl Core {
    /// Appends an envelope; returns the number of rows that expired for it, and whether a chunk was sealed.
    #[inline]
    fn append(&mut self, envelope: &Prepared<'_>, scratch: &[u8], max_per_source: u64) -> (u64, bool) {
        let Self {
            registry,
            timestamps,
            lanes,
            born,
            ..
        } = self;
        let lane = &mut lanes[envelope.kind.index()];
        // Sealed before the row is numbered: numbers of sources and values are valid for one filling only.
        let sealed = lane.is_full(envelope.payload(scratch).len());
        if sealed {
            *born += 1;
            lane.seal(registry, *born);
        }
        let slot = registry.intern(envelope.source_hash, envelope.source_id);
        let slot = registry.slot_mut(slot);
        let timestamp = timestamps.allocate(slot, envelope.timestamp, lanes);
        let expired = lanes[envelope.kind.index()].append(slot, timestamp, envelope, scratch, max_per_source);
        self.ingested += 1;
        self.expired += expired;
        (expired, sealed)
    }

    /// Seals the active part of `kind`, even if it is small.
    pub(crate) fn seal(&mut self, kind: Kind) {
        self.born += 1;
        self.lanes[kind.index()].seal(&self.registry, self.born);
    }

    /// Marks the rows of `kind` below ordinal `floor` of the source in `slot` as expired.
    pub(crate) fn expire(&mut self, kind: Kind, slot: u32, floor: u64) {
        let tally = &mut self.registry.slot_mut(slot as usize).tallies[kind.index()];
        let floor = floor.min(tally.next);
        let gone = floor.saturating_sub(tally.expired);
        tally.expired += gone;
        self.lanes[kind.index()].expired(gone);
        self.expired += gone;
    }

    /// Marks all rows of the sources that were silent longest as expired, to make room in the table of sources.
    pub(crate) fn retire_sources(&mut self) {
        let expired = self.registry.retire_oldest();
        for kind in Kind::ALL {
            self.lanes[kind.index()].expired(expired[kind.index()]);
        }
        self.expired += expired.iter().sum::<u64>();
    }

    /// Returns the memory of a class, in bytes.
    pub(crate) fn class_bytes(&self, class: Class) -> usize {
        class.kinds().iter().map(|kind| self.lanes[kind.index()].bytes()).sum()
    }

    /// Returns what has to be freed before a slice of the given `costs` can be admitted.
    fn short_of(&self, costs: [usize; Class::ALL.len()], limits: &Limits) -> Option<Shortage> {
        if self.registry.bytes() >= limits.sources_bytes {
            return Some(Shortage::Sources);
        }
        Class::ALL.into_iter().zip(costs).find_map(|(class, cost)| {
            let hard = self.lanes[class.kinds()[0].index()].sizing().hard;
            (cost > 0 && self.class_bytes(class) + cost > hard).then_some(Shortage::Rows(class, cost))
        })
    }
}

impl Lane {
    fn publish(&mut self) {
        let (taps, active) = self.taps_and_active();
        taps.publish(active);
    }

    fn tap(&mut self, capacity: usize, count_visible: CountVisible) -> Tap {
        let (taps, active) = self.taps_and_active();
        taps.add(capacity, count_visible, active)
    }
}
