//! Interns values that many rows share, tag sets and names of metrics, so that each is stored once.
//!
//! Rows refer to a value by a small number that is valid in their chunk, and chunks hold the values by [`Arc`]. The
//! interner holds one more reference, through which the next row with an equal value finds it. It drops that reference
//! once no chunk has one ([`Interner::sweep`]).

use std::sync::Arc;

use hashbrown::HashTable;

/// A value that can be interned.
pub(crate) trait Value {
    /// The memory of the value with its allocations, in bytes.
    fn bytes(&self) -> usize;
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    hash: u64,
    /// The filling of the active part for which `local` is valid.
    epoch: u64,
    /// The number of the value in the active part.
    local: u32,
}

/// A table of values, each of which it holds once.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    table: HashTable<u32>,
    entries: Vec<Option<Entry<T>>>,
    free: Vec<u32>,
    bytes: usize,
    /// The index at which the next partial sweep continues.
    cursor: usize,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            cursor: 0,
        }
    }
}

impl<T: Value> Interner<T> {
    /// Returns the number, within the active part, of the value with `hash` for which `is` is true. A value that the
    /// active part does not have yet is appended to `active`; a value that does not exist yet is created by `make`.
    #[inline]
    pub(crate) fn intern(
        &mut self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
        epoch: u64,
        active: &mut Vec<Arc<T>>,
    ) -> Found {
        let entries = &self.entries;
        let matches = |index: &u32| {
            entries[*index as usize]
                .as_ref()
                .is_some_and(|entry| entry.hash == hash && is(&entry.value))
        };
        let (index, new_bytes) = match self.table.find(hash, matches).copied() {
            Some(index) => (index, 0),
            None => self.insert(hash, make()),
        };
        let entry = self.entries[index as usize]
            .as_mut()
            .expect("the table points at entries only");
        if entry.epoch != epoch {
            entry.epoch = epoch;
            entry.local = u32::try_from(active.len()).expect("the active part is small");
            active.push(Arc::clone(&entry.value));
        }
        Found {
            local: entry.local,
            new_bytes,
        }
    }

    fn insert(&mut self, hash: u64, value: T) -> (u32, usize) {
        let bytes = value.bytes();
        self.bytes += bytes;
        let entry = Some(Entry {
            value: Arc::new(value),
            hash,
            // No filling has this number, so the value is added to the active part at its first use.
            epoch: u64::MAX,
            local: 0,
        });
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("the budget ends far below 2^32 values")
            }
        };
        let entries = &self.entries;
        self.table.insert_unique(hash, index, |index| {
            entries[*index as usize].as_ref().map_or(0, |entry| entry.hash)
        });
        (index, bytes)
    }

    /// The memory of all values and of the tables, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.entries.capacity() * size_of::<Option<Entry<T>>>() + self.table.allocation_size()
    }

    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Checks the next `limit` entries, and drops the values to which nothing else refers.
    ///
    /// No new reference can appear meanwhile: it would come from this interner, which is borrowed mutably, or be a
    /// clone of a reference that the count shows.
    pub(crate) fn sweep(&mut self, limit: usize) {
        for _ in 0..limit.min(self.entries.len()) {
            if self.cursor >= self.entries.len() {
                self.cursor = 0;
            }
            let index = self.cursor;
            self.cursor += 1;
            let Some(entry) = &self.entries[index] else { continue };
            if Arc::strong_count(&entry.value) > 1 {
                continue;
            }
            let number = u32::try_from(index).expect("entries are numbered in 32 bits");
            if let Ok(found) = self.table.find_entry(entry.hash, |found| *found == number) {
                found.remove();
            }
            self.bytes -= entry.value.bytes();
            self.entries[index] = None;
            self.free.push(number);
        }
        if self.table.is_empty() {
            *self = Self::default();
        }
    }
}

/// The result of [`Interner::intern`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// The number of the value in the active part.
    pub(crate) local: u32,
    /// The memory of the value in bytes if it is new, and zero otherwise.
    pub(crate) new_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Value for u64 {
        fn bytes(&self) -> usize {
            8
        }
    }

    fn intern(interner: &mut Interner<u64>, value: u64, epoch: u64, active: &mut Vec<Arc<u64>>) -> Found {
        interner.intern(value, |found| *found == value, || value, epoch, active)
    }

    /// Equal values have one number within a filling of the active part, and are one value across fillings.
    #[test]
    fn equal_values_are_stored_once() {
        let mut interner = Interner::default();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        assert_eq!(intern(&mut interner, 5, 1, &mut first).local, 0);
        assert_eq!(intern(&mut interner, 6, 1, &mut first).local, 1);
        let found = intern(&mut interner, 5, 1, &mut first);
        assert_eq!((found.local, found.new_bytes), (0, 0));
        assert_eq!(intern(&mut interner, 6, 2, &mut second).local, 0);
        assert!(Arc::ptr_eq(&first[1], &second[0]));
        assert_eq!(interner.len(), 2);
    }

    /// A sweep drops the values to which nothing refers, and subtracts their memory.
    #[test]
    fn sweeps_drop_unreferenced_values() {
        let mut interner = Interner::default();
        let mut active = Vec::new();
        for value in 0..100 {
            intern(&mut interner, value, 1, &mut active);
        }
        let all = interner.bytes();
        active.truncate(10);
        interner.sweep(usize::MAX);
        assert_eq!(interner.len(), 10);
        assert_eq!(interner.bytes(), all - 90 * 8);
        active.clear();
        interner.sweep(3);
        interner.sweep(usize::MAX);
        assert_eq!((interner.len(), interner.bytes()), (0, 0));
    }
}
