//! Gives each envelope a timestamp that is unique within its source (decision 0019).
//!
//! Clients of the log cache read the next page from behind the last timestamp that they saw. If a page ended among
//! equal timestamps, such a client would miss the rest of them. A page that contains all equal timestamps would have no
//! bound. So an envelope whose timestamp the source has already used is stored some nanoseconds later, [`STEP`] behind
//! the last of them. Timestamps are unique among all kinds of a source, because a client may read several kinds at
//! once.
//!
//! # Cost
//! An envelope that is newer than all others of its source costs nothing, and so does one within the *newest stretch*:
//! the timestamps without a gap up to the newest. The timestamp of any other envelope is looked up in a set of recent
//! ones ([`Recent`]), and in the chunks if it is older than those in the set.

use crate::lane::Lane;
use crate::source::Slot;

/// The distance to which equal timestamps are moved apart, in nanoseconds.
///
/// Clients that read towards the newest go on at `last + 1`. Those that read towards the oldest go on with the
/// exclusive end `last`, but the cloud controller with `last - 1`, and so would miss an envelope at a distance of one.
pub(crate) const STEP: i64 = 2;

/// The greatest timestamp that is stored, some minutes before the greatest 64-bit number. Later timestamps are stored
/// as this one, so that there is room to move them apart.
pub(crate) const MAX_TIMESTAMP: i64 = i64::MAX - (1 << 40);

/// The known timestamps of one source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceTimes {
    /// The start of the newest stretch.
    first: i64,
    /// The newest timestamp, which is the end of the newest stretch.
    last: i64,
    /// The generation of [`Recent`] in which `before` and `settled` were set.
    generation: u64,
    /// The value of `last` when that generation began.
    before: i64,
    /// All timestamps above this one were allocated in the two youngest generations, so `Recent` knows them.
    settled: i64,
}

impl Default for SourceTimes {
    fn default() -> Self {
        Self {
            first: i64::MAX,
            last: i64::MIN,
            generation: 0,
            before: i64::MIN,
            settled: i64::MIN,
        }
    }
}

impl SourceTimes {
    /// Whether no timestamp was allocated yet.
    const fn is_empty(&self) -> bool {
        self.first > self.last
    }

    /// Updates the state for the current `generation`.
    fn enter(&mut self, generation: u64) {
        if self.generation != generation {
            // If a generation was skipped, none of the source's timestamps is in the two that are remembered.
            self.settled = if self.generation + 1 == generation {
                self.before
            } else {
                self.last
            };
            self.before = self.last;
            self.generation = generation;
        }
    }
}

/// Allocates the timestamps of all sources.
#[derive(Debug)]
pub(crate) struct TimestampAllocator {
    recent: Recent,
}

impl TimestampAllocator {
    /// Returns an allocator that remembers at least `recent` timestamps, of all sources together.
    pub(crate) fn new(recent: usize) -> Self {
        Self {
            recent: Recent::new(recent),
        }
    }

    /// Returns the timestamp at which an envelope of `slot` with timestamp `wanted` is stored: `wanted` if it is free,
    /// or else the next free one. `lanes` are the lanes of all kinds.
    #[inline]
    pub(crate) fn allocate(&mut self, slot: &mut Slot, wanted: i64, lanes: &[Lane]) -> i64 {
        let wanted = wanted.min(MAX_TIMESTAMP);
        let times = &mut slot.times;
        times.enter(self.recent.next());
        // A newer timestamp begins a new stretch.
        let allocated = if wanted > times.last || times.is_empty() {
            times.first = wanted;
            times.last = wanted;
            wanted
        } else if wanted >= times.first {
            times.last += STEP;
            times.last
        } else {
            self.allocate_late(slot, wanted, lanes)
        };
        self.recent.insert(slot.source.slot(), allocated);
        allocated
    }

    /// Allocates a timestamp for an envelope that is older than the newest stretch.
    #[cold]
    fn allocate_late(&self, slot: &mut Slot, wanted: i64, lanes: &[Lane]) -> i64 {
        let times = slot.times;
        let taken = |timestamp: i64| {
            self.recent.holds(slot.source.slot(), timestamp)
                || timestamp <= times.settled && lanes.iter().any(|lane| lane.holds(slot, timestamp))
        };
        if !taken(wanted) {
            return wanted;
        }
        // An exponential and then a binary search for the first free timestamp. With n envelopes of one timestamp it
        // takes about 2 log2 n look-ups. If the used ones have gaps, it finds one that is free, and not always the
        // first.
        let at = |steps: i64| wanted.saturating_add(steps.saturating_mul(STEP));
        let (mut below, mut above) = (0, 1);
        while at(above) < times.first && taken(at(above)) {
            (below, above) = (above, above * 2);
        }
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if at(middle) < times.first && taken(at(middle)) {
                below = middle;
            } else {
                above = middle;
            }
        }
        if at(above) < times.first {
            return at(above);
        }
        slot.times.last += STEP;
        slot.times.last
    }
}

/// The set of timestamps that were allocated last, of all sources.
///
/// It has two generations; when the younger is full, the older is forgotten. It holds 32-bit fingerprints, so it may
/// report a timestamp that was not allocated, which moves an envelope without need. It never misses one that was.
#[derive(Debug)]
struct Recent {
    young: Box<[u32]>,
    old: Box<[u32]>,
    /// The number of timestamps in `young`.
    len: usize,
    capacity: usize,
    generation: u64,
}

impl Recent {
    fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        // At most half full, so that a search ends after a few entries.
        let table = || vec![0; (capacity * 2).next_power_of_two()].into_boxed_slice();
        Self {
            young: table(),
            old: table(),
            len: 0,
            capacity,
            generation: 0,
        }
    }

    /// Makes room for one timestamp, and returns the generation to which it will belong.
    #[inline]
    fn next(&mut self) -> u64 {
        if self.len == self.capacity {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.fill(0);
            self.len = 0;
            self.generation += 1;
        }
        self.generation
    }

    #[inline]
    fn insert(&mut self, slot: u32, timestamp: i64) {
        let (home, print) = key(slot, timestamp);
        let place = find(&self.young, home, print);
        self.young[place] = print;
        self.len += 1;
    }

    fn holds(&self, slot: u32, timestamp: i64) -> bool {
        let (home, print) = key(slot, timestamp);
        [&self.young, &self.old]
            .into_iter()
            .any(|table| table[find(table, home, print)] == print)
    }
}

/// Returns the index at which the search in a table starts, and the fingerprint to search for, which is never zero.
#[inline]
fn key(slot: u32, timestamp: i64) -> (usize, u32) {
    let mixed = (timestamp.cast_unsigned() ^ u64::from(slot).rotate_right(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let [home, print] = [mixed >> 32, mixed].map(|half| u32::try_from(half & u64::from(u32::MAX)).expect("masked"));
    // Zero marks a free entry, so the lowest bit is set.
    (home as usize, print | 1)
}

/// Returns the index of `print`, or of the free entry in which it belongs. A table is at most half full, so there is
/// one.
#[inline]
fn find(table: &[u32], home: usize, print: u32) -> usize {
    let mask = table.len() - 1;
    let mut place = home & mask;
    while table[place] != 0 && table[place] != print {
        place = (place + 1) & mask;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The set knows at least the timestamps of its capacity, forgets older ones, and does not report others.
    #[test]
    fn recent_timestamps_are_remembered() {
        let mut recent = Recent::new(100);
        for number in 0..1000u32 {
            let generation = recent.next();
            assert_eq!(generation, u64::from(number / 100));
            recent.insert(number % 7, i64::from(number));
        }
        assert!((800..1000u32).all(|number| recent.holds(number % 7, i64::from(number))));
        let forgotten = (0..800u32).filter(|number| !recent.holds(number % 7, i64::from(*number)));
        assert_eq!(forgotten.count(), 800);
        assert!(!recent.holds(6, 999) && !recent.holds(5, -999));
    }
}
