//! The store itself: one lock around the table of sources and the lanes, and the ways in.
//!
//! What the lock protects is small and quick: look-ups, appends of prepared rows, sealing a few thousand rows, swapping
//! lists of chunks. Chunks are immutable, so that readers and the maintenance work on them outside.

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
use crate::place::Places;
use crate::rows::Rows;
use crate::source::Registry;
use crate::tap::{Shown, Tap};

/// Timestamps that are remembered for each row that an active part collects.
const RECENT_PER_ACTIVE: usize = 8;

/// An in-memory store of envelopes; clones are the same store.
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
    /// Held by whoever evicts or merges: only one at a time changes chunks that exist.
    pub(crate) maintenance: Mutex<()>,
    pub(crate) signal: Signal,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) registry: Registry,
    places: Places,
    pub(crate) lanes: [Lane; Kind::ALL.len()],
    /// Orders chunks of all kinds by age.
    born: u64,
    ingested: u64,
    expired: u64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ingested {
    /// Envelopes that were stored; visible to every reader now.
    pub stored: u64,
    /// Older envelopes that had to go because their sources have more than they may.
    pub expired: u64,
}

/// The store in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Envelopes stored since the start.
    pub ingested: u64,
    /// Envelopes that were evicted since the start. `ingested - expired` are visible.
    pub expired: u64,
    /// Envelopes that are visible.
    pub held: u64,
    /// Sources known.
    pub sources: usize,
    /// Memory of logs, in bytes.
    pub logs_bytes: usize,
    /// Memory of metrics, in bytes.
    pub metrics_bytes: usize,
    /// Memory of the table of sources, in bytes.
    pub sources_bytes: usize,
    /// Smallest timestamp in a chunk, if there is one.
    pub oldest_timestamp: Option<i64>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_clock(limits, Clock::system())
    }

    /// The same with a clock of the caller's: sources' sequence numbers begin at its time.
    #[must_use]
    pub fn with_clock(limits: Limits, clock: Clock) -> Self {
        let sizing = Class::ALL.map(|class| limits.sizing(class));
        let lanes = Kind::ALL.map(|kind| Lane::new(kind, sizing[Class::of(kind) as usize]));
        let core = Core {
            registry: Registry::new(Numbering::new(clock)),
            places: Places::new(sizing[0].active_rows * RECENT_PER_ACTIVE),
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

    /// What the store may hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Takes the envelopes of `batch`. They are visible to every reader when this returns.
    ///
    /// Room is made before anything is admitted; mostly the maintenance has made it already. `refused` is told the
    /// source of each envelope that is larger than the store takes.
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
            for kind in Kind::ALL {
                let lane = &mut core.lanes[kind.index()];
                lane.publish();
            }
            let wanted = wanted && core.wants_maintenance();
            drop(core);
            if wanted {
                self.nudge();
            }
        }
        done
    }

    /// Waits until there is room for a slice that takes `costs`, and keeps the lock.
    fn admit(&self, costs: [usize; Class::ALL.len()]) -> MutexGuard<'_, Core> {
        // A reclaim makes room for sure, but others may take it first.
        for _ in 0..64 {
            let core = self.inner.core.lock();
            match core.short_of(costs, &self.inner.limits) {
                None => return core,
                Some(shortage) => {
                    drop(core);
                    self.reclaim(shortage);
                }
            }
        }
        self.inner.core.lock()
    }

    /// Follows a kind: its rows from now on, through a queue of `capacity` batches.
    ///
    /// `shown` counts, of rows that found no room in the queue, those that the follower may know of: it is told of no
    /// others. It is called while ingest waits, and only then.
    #[must_use]
    pub fn tap(&self, kind: Kind, capacity: usize, shown: impl Fn(&Rows) -> usize + Send + Sync + 'static) -> Tap {
        self.inner.core.lock().lanes[kind.index()].tap(capacity, Shown(Box::new(shown)))
    }

    /// The store in numbers.
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

/// Where room is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// Rows of a class take too much; so many bytes more are to be admitted.
    Rows(Class, usize),
    /// The table of sources is full.
    Sources,
}

impl Core {
    /// Appends an envelope; returns how many rows that let expire, and whether a chunk was sealed.
    #[inline]
    fn append(&mut self, envelope: &Prepared<'_>, scratch: &[u8], max_per_source: u64) -> (u64, bool) {
        let Self {
            registry,
            places,
            lanes,
            born,
            ..
        } = self;
        let lane = &mut lanes[envelope.kind.index()];
        let sealed = lane.is_full(envelope.payload(scratch).len());
        if sealed {
            *born += 1;
            lane.seal(registry, *born);
        }
        let slot = registry.intern(envelope.source_hash, envelope.source_id);
        let slot = registry.slot_mut(slot);
        let timestamp = places.place(slot, envelope.timestamp, lanes);
        let expired = lanes[envelope.kind.index()].append(slot, timestamp, envelope, scratch, max_per_source);
        self.ingested += 1;
        self.expired += expired;
        (expired, sealed)
    }

    /// Seals the active part of `kind`, however little there is.
    pub(crate) fn seal(&mut self, kind: Kind) {
        self.born += 1;
        self.lanes[kind.index()].seal(&self.registry, self.born);
    }

    /// Lets the rows of `kind` below ordinal `floor` of the source in `slot` expire.
    pub(crate) fn expire(&mut self, kind: Kind, slot: u32, floor: u64) {
        let tally = &mut self.registry.slot_mut(slot as usize).tallies[kind.index()];
        let floor = floor.min(tally.next);
        let gone = floor.saturating_sub(tally.expired);
        tally.expired += gone;
        self.lanes[kind.index()].expired(gone);
        self.expired += gone;
    }

    /// Lets the sources that were silent for longest expire, to make room in the table of sources.
    pub(crate) fn retire_sources(&mut self) {
        let expired = self.registry.retire_oldest();
        for kind in Kind::ALL {
            self.lanes[kind.index()].expired(expired[kind.index()]);
        }
        self.expired += expired.iter().sum::<u64>();
    }

    /// Memory of a class.
    pub(crate) fn class_bytes(&self, class: Class) -> usize {
        class.kinds().iter().map(|kind| self.lanes[kind.index()].bytes()).sum()
    }

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

    fn tap(&mut self, capacity: usize, shown: Shown) -> Tap {
        let (taps, active) = self.taps_and_active();
        taps.add(capacity, shown, active)
    }
}
