//! Values that many rows share, kept once: tag sets and the names of metrics.
//!
//! Rows refer to a value by a small number of their chunk; chunks hold the values by [`Arc`]. The interner holds one more
//! reference, by which the next equal row finds the value, and gives it up once nobody else has one ([`Interner::sweep`]).

use std::sync::Arc;

use hashbrown::HashTable;

/// Something that is interned.
pub(crate) trait Value {
    /// Memory that it takes, allocations included.
    fn bytes(&self) -> usize;
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    hash: u64,
    /// For which filling of the active part `local` holds.
    epoch: u64,
    local: u32,
}

/// Finds equal values.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    table: HashTable<u32>,
    entries: Vec<Option<Entry<T>>>,
    free: Vec<u32>,
    bytes: usize,
    /// Where the next partial sweep goes on.
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
    /// The number within the active part of the value that `hash` and `is` tell. A value that the active part does not
    /// have yet is appended to `active`; one that nobody has is made by `make`.
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

    /// Memory of all values and of the tables.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.entries.capacity() * size_of::<Option<Entry<T>>>() + self.table.allocation_size()
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Looks at the next `limit` entries and gives up those that nobody else has.
    ///
    /// Nobody can take a reference meanwhile: references come from here, by `&mut self`, or are clones of a reference
    /// that somebody has.
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

/// What [`Interner::intern`] found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// The value's number in the active part.
    pub(crate) local: u32,
    /// Memory that the value takes, if it is new.
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

    /// Equal values share a number within one filling and the value itself across fillings.
    #[test]
    fn equal_values_are_one() {
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

    /// A sweep gives up what nobody has, and the memory that it was counted with.
    #[test]
    fn sweeps_give_up_what_nobody_has() {
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
