//! Running totals of counters that only tell their growth.
//!
//! A counter with a delta and no total gets the sum of all deltas of its series; one that brings a total sets it. The
//! original sets the total to zero when both are zero, so idle emitters seem to restart; here an idle report repeats
//! the total.
//!
//! At most `max_series` series are remembered, in two generations: a series that is touched moves to the young one, and
//! when that is half of the limit, the old one is forgotten and the young one takes its place. So what is forgotten is
//! what was not touched for the longest time, never everything at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash as _, Hasher};

use ahash::RandomState;
use parking_lot::Mutex;

/// A series: its name, source and tag set, hashed to 128 bits under keys of this process. Two series never meet by
/// chance, and nobody can make them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Series(u64, u64);

/// Running totals by series, shared by all streams.
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
    /// Remembers at most `max_series` series.
    #[must_use]
    pub fn new(max_series: usize) -> Self {
        Self {
            keys: [RandomState::new(), RandomState::new()],
            generation_size: (max_series / 2).max(1),
            generations: Mutex::default(),
        }
    }

    /// The series of counter `name` of `source_id` with `tags`, which must come in a fixed order.
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

    /// Takes in a report of `series`; returns its total from now on.
    pub(super) fn add(&self, series: Series, delta: u64, total: u64) -> u64 {
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        let running = young.get(&series).or_else(|| old.get(&series)).copied();
        let next = match (delta, total) {
            (0, 0) => running.unwrap_or(0),
            (delta, 0) => running.unwrap_or(0).wrapping_add(delta),
            (_, total) => total,
        };
        if young.insert(series, next).is_none() {
            old.remove(&series);
            if young.len() >= self.generation_size {
                *old = std::mem::take(young);
            }
        }
        next
    }

    /// Series remembered now.
    #[cfg(test)]
    fn len(&self) -> usize {
        let generations = self.generations.lock();
        generations.young.len() + generations.old.len()
    }
}

/// The hash of what is a hash already.
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

    /// A series in use survives any number of strangers; memory stays in its bound.
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
