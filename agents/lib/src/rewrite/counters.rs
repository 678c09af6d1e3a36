//! The running totals of counters that report only their increments.
//!
//! A counter with a delta and no total gets the sum of all deltas of its series. A counter with a total sets the sum to
//! it. If both are zero, the original sets the total to zero, so that an idle emitter looks like a restarted one. Here
//! the total is repeated.
//!
//! At most `max_series` series are remembered, in two generations. A series that reports moves to the young generation.
//! When the young one holds half of the limit, it becomes the old one, and the former old one is forgotten. So the
//! series that have been idle for the longest time are forgotten first, and never all at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash as _, Hasher};

use ahash::RandomState;
use parking_lot::Mutex;

/// Identifies a series by its name, source id and tags, hashed to 128 bits with keys that are random for each process.
/// Two series do not collide by chance, and nobody can construct two that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Series(u64, u64);

/// The running totals by series. All streams share them.
#[derive(Debug)]
pub struct CounterTotals {
    keys: [RandomState; 2],
    generation_size: usize,
    generations: Mutex<Generations>,
}

type Totals = HashMap<Series, u64, BuildHasherDefault<FirstHalf>>;

#[derive(Debug, Default)]
struct Generations {
    young: Totals,
    old: Totals,
}

impl CounterTotals {
    /// Creates totals that remember at most `max_series` series.
    #[must_use]
    pub fn new(max_series: usize) -> Self {
        Self {
            keys: [RandomState::new(), RandomState::new()],
            generation_size: (max_series / 2).max(1),
            generations: Mutex::default(),
        }
    }

    /// Returns the identity of the counter `name` of `source_id` with `tags`. The caller must pass the tags in a fixed
    /// order.
    pub(super) fn series<'t>(
        &self,
        name: &str,
        source_id: &str,
        tags: impl Iterator<Item = (&'t str, &'t str)>,
    ) -> Series {
        let [mut first, mut second] = self.keys.each_ref().map(RandomState::build_hasher);
        let mut write = |text: &str| {
            text.hash(&mut first);
            text.hash(&mut second);
        };
        write(name);
        write(source_id);
        for (key, value) in tags {
            write(key);
            write(value);
        }
        Series(first.finish(), second.finish())
    }

    /// Records a report of `series` and returns the total that the envelope should carry.
    pub(super) fn add(&self, series: Series, delta: u64, total: u64) -> u64 {
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        let running = young.get(&series).or_else(|| old.get(&series)).copied();
        let next = match (delta, total) {
            (0, 0) => running.unwrap_or(0),
            (delta, 0) => running.unwrap_or(0).wrapping_add(delta),
            (_, total) => total,
        };
        // The series moves to the young generation with its first report there.
        if young.insert(series, next).is_none() {
            old.remove(&series);
            if young.len() >= self.generation_size {
                *old = std::mem::take(young);
            }
        }
        next
    }

    /// Returns the number of remembered series.
    #[cfg(test)]
    fn len(&self) -> usize {
        let generations = self.generations.lock();
        generations.young.len() + generations.old.len()
    }
}

/// A hasher for keys that are hashes already. It uses their first half.
#[derive(Debug, Default)]
struct FirstHalf(u64);

impl Hasher for FirstHalf {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 ^= value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(totals: &CounterTotals, name: &str) -> Series {
        totals.series(name, "app", [("a", "b")].into_iter())
    }

    #[test]
    fn deltas_add_up_totals_set_and_idle_reports_repeat() {
        let totals = CounterTotals::new(10);
        let requests = series(&totals, "requests");
        assert_eq!(totals.add(requests, 0, 0), 0);
        assert_eq!(totals.add(requests, 3, 0), 3);
        assert_eq!(totals.add(requests, 4, 0), 7);
        assert_eq!(totals.add(requests, 0, 0), 7);
        assert_eq!(totals.add(requests, 5, 100), 100);
        assert_eq!(totals.add(requests, 1, 0), 101);
        assert_eq!(totals.add(requests, u64::MAX, 0), 100);
    }

    #[test]
    fn name_source_and_tags_tell_series_apart() {
        let totals = CounterTotals::new(10);
        let of =
            |name, source, tags: &[(&'static str, &'static str)]| totals.series(name, source, tags.iter().copied());
        let all = [
            of("n", "s", &[("a", "b")]),
            of("m", "s", &[("a", "b")]),
            of("n", "t", &[("a", "b")]),
            of("n", "s", &[("a", "c")]),
            of("n", "s", &[("ab", "")]),
            of("n", "s", &[]),
            of("ns", "", &[("a", "b")]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
        assert_eq!(all[0], of("n", "s", &[("a", "b")]));
    }

    /// A series in use is remembered however many others report once, and the number of remembered series stays bounded.
    #[test]
    fn the_least_used_are_forgotten_first() {
        let totals = CounterTotals::new(100);
        let used = series(&totals, "used");
        for index in 0..10_000_u64 {
            totals.add(series(&totals, &format!("stranger-{index}")), 1, 0);
            assert_eq!(totals.add(used, 1, 0), index + 1);
            assert!(totals.len() <= 100, "{}", totals.len());
        }
    }
}
