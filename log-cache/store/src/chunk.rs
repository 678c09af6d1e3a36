//! A chunk: an immutable set of rows of one kind.
//!
//! A chunk is self-contained: it has its rows and the identities and shapes to which they refer, so that a file of a
//! durable store could be written from it. Its rows are sorted by source, timestamp and sequence number, and a [`Run`]
//! is the range of rows of one source. The chunks of a kind are in the order of arrival: every row of a source in an
//! earlier chunk arrived before every row of that source in a later one.

use std::ops::Range;
use std::sync::Arc;

use weir_envelope::batch::Kind;

use crate::rows::{Rows, row_bytes};
use crate::source::Source;

mod active;
mod merge;

pub(crate) use active::Active;
pub(crate) use merge::merge;

/// The rows of one source in a chunk.
#[derive(Debug, Clone)]
pub struct Run {
    source: Arc<Source>,
    start: u32,
    end: u32,
    /// The ordinal of the row that arrived first. The run has all ordinals from there on, without gaps.
    first: u64,
}

impl Run {
    /// The source of the rows.
    #[must_use]
    pub const fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The range of the rows in the chunk, sorted by timestamp and sequence number.
    #[must_use]
    pub const fn rows(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The number of rows.
    pub(crate) const fn len(&self) -> u64 {
        (self.end - self.start) as u64
    }

    /// The ordinal behind that of the row that arrived last.
    pub(crate) const fn end_ordinal(&self) -> u64 {
        self.first + self.len()
    }

    /// The number of expired rows, if `floor` is the first visible ordinal.
    pub(crate) const fn dead(&self, floor: u64) -> u64 {
        let gone = floor.saturating_sub(self.first);
        if gone < self.len() { gone } else { self.len() }
    }
}

/// The visible rows of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visible {
    /// All rows.
    All,
    /// No row.
    Nothing,
    /// The rows with at least this sequence number.
    FromSeq(u64),
}

/// An immutable set of rows of one kind.
#[derive(Debug)]
pub struct Chunk {
    rows: Arc<Rows>,
    runs: Box<[Run]>,
    born: u64,
    oldest: i64,
    newest: i64,
}

impl Chunk {
    /// Returns a chunk. `rows` must be sorted, and `runs` must cover them in the order of their sources' slots, without
    /// gaps. `born` orders the chunks of all kinds by age.
    pub(crate) fn new(rows: Rows, runs: Vec<Run>, born: u64) -> Self {
        let oldest = runs
            .iter()
            .map(|run| rows.timestamps()[run.start as usize])
            .min()
            .unwrap_or_default();
        let newest = runs
            .iter()
            .map(|run| rows.timestamps()[run.end as usize - 1])
            .max()
            .unwrap_or_default();
        Self {
            rows: Arc::new(rows),
            runs: runs.into(),
            born,
            oldest,
            newest,
        }
    }

    /// The rows.
    #[must_use]
    pub const fn rows(&self) -> &Arc<Rows> {
        &self.rows
    }

    /// The run of each source, ordered by slot.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The smallest and the greatest timestamp, in nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn time_range(&self) -> (i64, i64) {
        (self.oldest, self.newest)
    }

    pub(crate) const fn born(&self) -> u64 {
        self.born
    }

    pub(crate) fn kind(&self) -> Kind {
        self.rows.kind()
    }

    /// Returns the run of the source in `slot`.
    pub(crate) fn run_of(&self, slot: u32) -> Option<&Run> {
        let found = self.runs.binary_search_by_key(&slot, |run| run.source.slot()).ok()?;
        Some(&self.runs[found])
    }

    /// Whether the source in `slot` has a row at `timestamp`.
    pub(crate) fn holds(&self, slot: u32, timestamp: i64) -> bool {
        let here = |run: &Run| self.rows.timestamps()[run.rows()].binary_search(&timestamp).is_ok();
        (self.oldest..=self.newest).contains(&timestamp) && self.run_of(slot).is_some_and(here)
    }

    /// The memory of the chunk without identities and shapes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + size_of_val::<[Run]>(&self.runs) + size_of::<Self>() + 128
    }

    /// The memory of the rows of a run, in bytes.
    pub(crate) fn run_bytes(&self, run: &Run) -> usize {
        self.rows.columns().payload_len(run.rows()) + run.rows().len() * row_bytes(self.kind())
    }

    /// Returns the visible rows of `run`, if `floor` is the first visible ordinal.
    ///
    /// Rows expire in the order of arrival, which is also that of a source's sequence numbers. So the expired rows are
    /// those with the smallest sequence numbers.
    pub(crate) fn visible(&self, run: &Run, floor: u64) -> Visible {
        let dead = run.dead(floor);
        if dead == 0 {
            return Visible::All;
        }
        if dead == run.len() {
            return Visible::Nothing;
        }
        let seqs = &self.rows.seqs()[run.rows()];
        let dead = usize::try_from(dead).expect("fewer than the chunk has rows");
        // Most sources send in the order of time, and then rows sorted by time are sorted by sequence number too.
        if seqs.is_sorted() {
            return Visible::FromSeq(seqs[dead]);
        }
        let mut seqs = seqs.to_vec();
        // A selection is enough: only the smallest visible number is needed.
        let (_, seq, _) = seqs.select_nth_unstable(dead);
        Visible::FromSeq(*seq)
    }
}

impl Visible {
    /// Whether the row with this sequence number is visible.
    pub(crate) const fn shows(self, seq: u64) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::FromSeq(from) => seq >= from,
        }
    }
}
