//! A small set-associative cache for results that are derived from the sources seen last.

/// The number of slots in which an entry with a given hash may be.
const WAYS: usize = 4;

/// A cache with a bounded number of entries. An added entry replaces another one if all slots of its hash are in use.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    slots: Vec<Option<Box<T>>>,
    /// Which of the slots of a hash is replaced next.
    victim: usize,
}

impl<T> Cache<T> {
    /// Returns a cache for at least this number of entries, rounded up to a power of two. Entries are allocated when
    /// they are added.
    pub(crate) fn new(entries: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(entries.next_power_of_two().max(WAYS), || None);
        Self { slots, victim: 0 }
    }

    /// Returns the index of the entry with this hash for which `is` is true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<usize> {
        let start = self.set(hash);
        (start..start + WAYS).find(|&index| self.get(index).is_some_and(&is))
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.slots.get(index)?.as_deref()
    }

    /// Adds an entry, and returns its index.
    pub(crate) fn insert(&mut self, hash: u64, entry: T) -> usize {
        let start = self.set(hash);
        let free = (start..start + WAYS).find(|&index| self.slots[index].is_none());
        let index = free.unwrap_or_else(|| {
            self.victim = (self.victim + 1) % WAYS;
            start + self.victim
        });
        self.slots[index] = Some(Box::new(entry));
        index
    }

    /// Replaces the entry at `index`.
    pub(crate) fn replace(&mut self, index: usize, entry: T) {
        self.slots[index] = Some(Box::new(entry));
    }

    /// Returns the first of the slots in which an entry with this hash may be.
    fn set(&self, hash: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let hash = hash as usize;
        // The number of slots is a power of two and a multiple of `WAYS`, so the mask gives the start of a group of
        // slots.
        hash & (self.slots.len() - WAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_until_they_are_replaced() {
        let mut cache = Cache::new(6);
        assert_eq!(cache.slots.len(), 8);
        for entry in 0..5_u64 {
            let index = cache.insert(8, entry);
            assert_eq!(cache.get(index), Some(&entry));
        }
        let kept = (0..5).filter(|&entry| cache.find(8, |found| *found == entry).is_some());
        assert_eq!(kept.count(), WAYS);
        assert_eq!(cache.find(4, |_| true), None);
        let index = cache.find(8, |found| *found == 4).unwrap();
        cache.replace(index, 9);
        assert_eq!(cache.get(index), Some(&9));
    }
}
