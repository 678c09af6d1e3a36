//! The table of sources, with the counts of each source.
//!
//! A source has a *slot* as long as rows of it are in memory. Its rows have two numbers. `seq`, which readers see,
//! counts the envelopes of all kinds from the time at which the source appeared ([`crate::numbering`]). The *ordinal*
//! counts the envelopes of one kind, and expiry works with it: the visible rows of a source and kind are exactly those
//! with an ordinal of at least `expired`.

use std::sync::Arc;

use hashbrown::HashTable;
use weir_envelope::batch::Kind;

use crate::numbering::Numbering;
use crate::timestamps::SourceTimes;

/// The memory of a slot without its id, in bytes: the slot, the shared [`Source`], their allocations, and an entry of
/// the hash table.
const SLOT_BYTES: usize = size_of::<Option<Slot>>() + size_of::<Source>() + 64;

/// A source of envelopes, which all of its identities and runs share.
#[derive(Debug)]
pub struct Source {
    id: Box<str>,
    slot: u32,
}

impl Source {
    /// The source id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The index of the source in the tables of its store. It is used for another source once no row of this one is
    /// left.
    pub(crate) const fn slot(&self) -> u32 {
        self.slot
    }
}

/// The counts of one kind of one source.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// The ordinal of the next row, which is the number of rows so far.
    pub(crate) next: u64,
    /// The ordinal below which rows have expired.
    pub(crate) expired: u64,
    /// The filling of the active part for which `local` is valid.
    pub(crate) epoch: u64,
    /// The number of the source in the active part.
    pub(crate) local: u32,
}

impl Tally {
    /// The number of visible rows.
    pub(crate) const fn live(&self) -> u64 {
        self.next - self.expired
    }
}

/// A source and its counts.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) source: Arc<Source>,
    hash: u32,
    /// The value of the registry's clock when the source last wrote.
    written: u64,
    /// The sequence number of the next envelope.
    pub(crate) next_seq: u64,
    pub(crate) times: SourceTimes,
    pub(crate) tallies: [Tally; Kind::ALL.len()],
}

impl Slot {
    fn bytes(&self) -> usize {
        SLOT_BYTES + self.source.id.len()
    }
}

/// The table of sources.
#[derive(Debug)]
pub(crate) struct Registry {
    table: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    bytes: usize,
    /// Counts look-ups for writing, which orders sources by their last write.
    clock: u64,
    numbering: Numbering,
}

impl Registry {
    pub(crate) fn new(numbering: Numbering) -> Self {
        Self {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            clock: 0,
            numbering,
        }
    }

    /// Returns the index of the slot of `id`, which is created if there is none.
    #[inline]
    pub(crate) fn intern(&mut self, hash: u32, id: &str) -> usize {
        self.clock += 1;
        let slots = &self.slots;
        let found = self
            .table
            .find(spread(hash), |slot| is_source(slots, *slot, hash, id))
            .copied();
        let index = match found {
            Some(slot) => slot as usize,
            None => self.insert(hash, id),
        };
        if let Some(slot) = &mut self.slots[index] {
            slot.written = self.clock;
        }
        index
    }

    fn insert(&mut self, hash: u32, id: &str) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("the budget ends far below 2^32 sources")
        });
        let slot = Slot {
            source: Arc::new(Source {
                id: id.into(),
                slot: number,
            }),
            hash,
            written: self.clock,
            next_seq: self.numbering.start(),
            times: SourceTimes::default(),
            tallies: [Tally::default(); Kind::ALL.len()],
        };
        self.bytes += slot.bytes();
        self.slots[number as usize] = Some(slot);
        let slots = &self.slots;
        self.table
            .insert_unique(spread(hash), number, |slot| spread(hash_of(slots, *slot)));
        number as usize
    }

    /// Returns the slot of `id`, if it has one.
    pub(crate) fn find(&self, hash: u32, id: &str) -> Option<&Slot> {
        let slot = *self
            .table
            .find(spread(hash), |slot| is_source(&self.slots, *slot, hash, id))?;
        self.slots[slot as usize].as_ref()
    }

    /// Returns the slot at `index`, which must be in use.
    #[inline]
    pub(crate) fn slot_mut(&mut self, index: usize) -> &mut Slot {
        self.slots[index]
            .as_mut()
            .expect("a slot stays in use as long as a row has its number")
    }

    /// Iterates over the slots that are in use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    /// Returns the first visible ordinal of `kind` of the source in `slot`.
    pub(crate) fn floor(&self, kind: Kind, slot: u32) -> u64 {
        let slot = self.slots.get(slot as usize).and_then(Option::as_ref);
        slot.map_or(0, |slot| slot.tallies[kind.index()].expired)
    }

    /// Returns the first visible ordinal of `kind`, by slot.
    pub(crate) fn floors(&self, kind: Kind) -> Vec<u64> {
        self.slots
            .iter()
            .map(|slot| slot.as_ref().map_or(0, |slot| slot.tallies[kind.index()].expired))
            .collect()
    }

    /// The memory of the table, in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of sources.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Removes every source that has no visible row and is not `present` in memory; returns their number.
    ///
    /// A source whose next sequence number is greater than the one with which it would start again is kept until that
    /// is no longer so. Thus no sequence number is used twice.
    pub(crate) fn forget_absent(&mut self, present: &[bool]) -> usize {
        let start = self.numbering.start();
        let mut forgotten = 0;
        for index in 0..self.slots.len() {
            let Some(slot) = &self.slots[index] else { continue };
            let held =
                present.get(index).copied().unwrap_or(false) || slot.tallies.iter().any(|tally| tally.live() > 0);
            if held || slot.next_seq > start {
                continue;
            }
            let number = slot.source.slot;
            self.bytes -= slot.bytes();
            if let Ok(entry) = self.table.find_entry(spread(slot.hash), |found| *found == number) {
                entry.remove();
            }
            self.slots[index] = None;
            self.free.push(number);
            forgotten += 1;
        }
        forgotten
    }

    /// Marks all rows of a sixteenth of the sources, those whose last write is longest ago, as expired. Returns the
    /// number of these rows, by kind.
    pub(crate) fn retire_oldest(&mut self) -> [u64; Kind::ALL.len()] {
        let mut expired = [0; Kind::ALL.len()];
        let mut written: Vec<u64> = self.iter().map(|slot| slot.written).collect();
        if written.is_empty() {
            return expired;
        }
        let last = written.len().div_ceil(16) - 1;
        // Selection instead of a sort, because there may be hundreds of thousands of sources.
        let (_, until, _) = written.select_nth_unstable(last);
        let until = *until;
        // The clock counts writes, so no two sources have the same value.
        for slot in self.slots.iter_mut().flatten().filter(|slot| slot.written <= until) {
            for (tally, expired) in slot.tallies.iter_mut().zip(&mut expired) {
                *expired += tally.live();
                tally.expired = tally.next;
            }
        }
        expired
    }
}

fn is_source(slots: &[Option<Slot>], number: u32, hash: u32, id: &str) -> bool {
    slots[number as usize]
        .as_ref()
        .is_some_and(|slot| slot.hash == hash && *slot.source.id == *id)
}

fn hash_of(slots: &[Option<Slot>], number: u32) -> u32 {
    slots[number as usize].as_ref().map_or(0, |slot| slot.hash)
}

#[cfg(test)]
impl Default for Registry {
    /// Returns a registry whose clock stands still in 1970, so that sequence numbers start at one.
    fn default() -> Self {
        let (_, clock) = weir_service::clock::Clock::manual(0);
        Self::new(Numbering::new(clock))
    }
}

/// Spreads the 32 bits of a source's hash over 64 bits, because the hash table uses the highest and the lowest ones.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_service::clock::{Clock, ManualClock};

    use super::*;

    fn registry() -> (ManualClock, Registry) {
        let (manual, clock) = Clock::manual(0);
        (manual, Registry::new(Numbering::new(clock)))
    }

    /// A source that wrote 49 envelopes is forgotten as soon as it would start above them, and not before, even if the
    /// wall clock is set back meanwhile.
    #[test]
    fn sequence_numbers_are_never_used_again() {
        let (manual, mut registry) = registry();
        let first = registry.intern(7, "app");
        let slot = registry.slot_mut(first);
        assert_eq!(slot.next_seq, 1);
        slot.next_seq = 50;
        let before = registry.bytes();
        manual.advance(Duration::from_micros(48));
        assert_eq!((registry.forget_absent(&[]), registry.len()), (0, 1));
        manual.set_wall(-1_000_000);
        manual.advance(Duration::from_micros(1));
        assert_eq!(registry.forget_absent(&[]), 1);
        assert!(registry.bytes() < before && registry.len() == 0);
        let again = registry.intern(7, "app");
        assert_eq!(registry.slot_mut(again).next_seq, 50);
    }

    /// The first sequence number of a source does not depend on what other sources wrote, known or forgotten.
    #[test]
    fn sequence_numbers_reveal_nothing_of_other_sources() {
        let begins = |others: u64| {
            let (manual, mut registry) = registry();
            for (hash, id) in [(1, "forgotten"), (2, "known")] {
                let index = registry.intern(hash, id);
                registry.slot_mut(index).next_seq += others;
            }
            manual.advance(Duration::from_secs(5));
            assert_eq!(registry.forget_absent(&[false, true]), 1);
            let index = registry.intern(3, "mine");
            registry.slot_mut(index).next_seq
        };
        assert_eq!(begins(3), begins(4_000_000));
    }

    /// Sources are kept while they have visible rows, or expired rows that are still in a chunk.
    #[test]
    fn sources_with_rows_are_kept() {
        let mut registry = Registry::default();
        for (hash, id) in [(1, "visible"), (2, "present"), (3, "gone")] {
            let index = registry.intern(hash, id);
            let slot = registry.slot_mut(index);
            slot.tallies[0].next = 3;
            slot.tallies[0].expired = if id == "visible" { 2 } else { 3 };
        }
        assert_eq!(registry.forget_absent(&[false, true, false]), 1);
        assert!(registry.find(1, "visible").is_some() && registry.find(2, "present").is_some());
        assert!(registry.find(3, "gone").is_none());
    }

    /// Two sources with equal hashes get two slots.
    #[test]
    fn sources_with_equal_hashes_get_two_slots() {
        let mut registry = Registry::default();
        assert_ne!(registry.intern(9, "a"), registry.intern(9, "b"));
        assert_eq!(registry.intern(9, "a"), registry.intern(9, "a"));
    }

    /// The sources whose last write is longest ago are retired first, and their rows are counted.
    #[test]
    fn the_sources_silent_longest_are_retired() {
        let mut registry = Registry::default();
        for hash in 0..32 {
            let index = registry.intern(hash, &hash.to_string());
            registry.slot_mut(index).tallies[0].next = 5;
        }
        assert_eq!(registry.retire_oldest()[0], 10);
        let silent = registry.iter().filter(|slot| slot.tallies[0].live() == 0);
        assert_eq!(silent.map(|slot| slot.source.id()).collect::<Vec<_>>(), ["0", "1"]);
    }
}
