//! No two envelopes of a source have one timestamp.
//!
//! Clients of the log cache go on behind the last timestamp that they saw. A page that ends among equal timestamps would
//! lose the rest of them to such a walk, and a page that does not can become as long as there are equal ones. So an
//! envelope whose timestamp its source has already is stored some nanoseconds later: behind the others, [`STEP`] each.
//! Envelopes of all kinds take part, because a walk may be for several.
//!
//! # What it costs
//! An envelope behind all others of its source is free, and so is one that comes amid the *newest stretch*: timestamps
//! without a gap up to the newest. Any other is late, and its timestamp has to be looked up: in a set of those given
//! last ([`Recent`]), and in the chunks if it is older than all in there.

use crate::lane::Lane;
use crate::source::Slot;

/// How far apart equal timestamps are moved, in ns.
///
/// Clients walk towards the newest from `last + 1` and, with an exclusive end, towards the oldest from `last`; the cloud
/// controller does that from `last - 1`, and would lose its neighbour at a distance of one.
pub(crate) const STEP: i64 = 2;

/// Largest timestamp that is kept, some minutes before the end of what 64 bits can say: what is later counts as this one,
/// so that there is room to move.
pub(crate) const LATEST: i64 = i64::MAX - (1 << 40);

/// What is known of the timestamps of a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// The newest stretch: with each timestamp in it or above its end there is something behind all others.
    first: i64,
    last: i64,
    /// In which generation of [`Recent`] the two below were noted.
    generation: u64,
    /// `last` when that generation began.
    before: i64,
    /// Timestamps above this one were all given in the two youngest generations.
    settled: i64,
}

impl Default for Times {
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

impl Times {
    /// Whether nothing was given yet.
    const fn is_empty(&self) -> bool {
        self.first > self.last
    }

    /// Notes that this is the `generation` now.
    fn enter(&mut self, generation: u64) {
        if self.generation != generation {
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

/// Gives each envelope its timestamp.
#[derive(Debug)]
pub(crate) struct Places {
    recent: Recent,
}

impl Places {
    /// `recent` timestamps at least are remembered, of all sources together.
    pub(crate) fn new(recent: usize) -> Self {
        Self {
            recent: Recent::new(recent),
        }
    }

    /// The timestamp at which an envelope of `slot` is stored that says `wanted`: this one, or the next that is free.
    /// `lanes` are all there are.
    #[inline]
    pub(crate) fn place(&mut self, slot: &mut Slot, wanted: i64, lanes: &[Lane]) -> i64 {
        let wanted = wanted.min(LATEST);
        let times = &mut slot.times;
        times.enter(self.recent.next());
        let given = if wanted > times.last || times.is_empty() {
            times.first = wanted;
            times.last = wanted;
            wanted
        } else if wanted >= times.first {
            times.last += STEP;
            times.last
        } else {
            self.late(slot, wanted, lanes)
        };
        self.recent.insert(slot.source.slot(), given);
        given
    }

    /// A place for an envelope that is older than the newest stretch.
    #[cold]
    fn late(&self, slot: &mut Slot, wanted: i64, lanes: &[Lane]) -> i64 {
        let times = slot.times;
        let taken = |timestamp: i64| {
            self.recent.holds(slot.source.slot(), timestamp)
                || timestamp <= times.settled && lanes.iter().any(|lane| lane.holds(slot, timestamp))
        };
        if !taken(wanted) {
            return wanted;
        }
        // Further and further until a place is free, then back to the first behind one that is taken: where many
        // have one timestamp, there are as many steps as their number has digits.
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

/// The timestamps given last, of all sources: a set in two generations, the older of which is forgotten when the younger
/// is full. It may take a timestamp for given that is not, which moves an envelope without need, but not the other way
/// round.
#[derive(Debug)]
struct Recent {
    young: Box<[u32]>,
    old: Box<[u32]>,
    /// Of the young ones.
    len: usize,
    capacity: usize,
    generation: u64,
}

impl Recent {
    fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let table = || vec![0; (capacity * 2).next_power_of_two()].into_boxed_slice();
        Self {
            young: table(),
            old: table(),
            len: 0,
            capacity,
            generation: 0,
        }
    }

    /// Makes room for one more, and returns the generation that it will be of.
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

/// Where in a table to begin to look, and for what.
#[inline]
fn key(slot: u32, timestamp: i64) -> (usize, u32) {
    let mixed = (timestamp.cast_unsigned() ^ u64::from(slot).rotate_right(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let [home, print] = [mixed >> 32, mixed].map(|half| u32::try_from(half & u64::from(u32::MAX)).expect("masked"));
    (home as usize, print | 1)
}

/// The place of `print`, or the free one in which it belongs. A table is never more than half full.
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

    /// What was given is remembered for at least as many as there is room for, then forgotten; others are not taken for
    /// it.
    #[test]
    fn the_recent_are_remembered() {
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
