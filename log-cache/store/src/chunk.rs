//! A chunk: rows of one kind, sealed.
//!
//! A chunk is immutable and self-contained: it holds its rows, and the identities and shapes that they refer to. (This
//! is what a write-ahead log's checkpoint or a Parquet file is to be written from.) Its rows are sorted by source,
//! timestamp and sequence number; a [`Run`] says where each source lies. Chunks of a kind follow each other in the order
//! of arrival: of one source, every row of an earlier chunk arrived before every row of a later one.

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
    /// Ordinal of the row that arrived first; the run has all ordinals from there on, without gaps.
    first: u64,
}

impl Run {
    /// Whose rows these are.
    #[must_use]
    pub const fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Where they lie in the chunk, sorted by timestamp and sequence number.
    #[must_use]
    pub const fn rows(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// How many rows there are.
    pub(crate) const fn len(&self) -> u64 {
        (self.end - self.start) as u64
    }

    /// Ordinal behind the row that arrived last.
    pub(crate) const fn end_ordinal(&self) -> u64 {
        self.first + self.len()
    }

    /// How many of its rows are gone if `floor` is the first ordinal that is visible.
    pub(crate) const fn dead(&self, floor: u64) -> u64 {
        let gone = floor.saturating_sub(self.first);
        if gone < self.len() { gone } else { self.len() }
    }
}

/// Which rows of a run are visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visible {
    /// All of them.
    All,
    /// None.
    Nothing,
    /// Those with at least this sequence number.
    FromSeq(u64),
}

/// Rows of one kind, sealed.
#[derive(Debug)]
pub struct Chunk {
    rows: Arc<Rows>,
    runs: Box<[Run]>,
    born: u64,
    oldest: i64,
    newest: i64,
}

impl Chunk {
    /// `rows` must be sorted and `runs` must lie in them in the order of their sources' slots, without gaps. `born`
    /// orders chunks of all kinds by age.
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

    /// Where each source's rows lie, ordered by slot.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Smallest and largest timestamp.
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

    /// The run of the source in `slot`.
    pub(crate) fn run_of(&self, slot: u32) -> Option<&Run> {
        let found = self.runs.binary_search_by_key(&slot, |run| run.source.slot()).ok()?;
        Some(&self.runs[found])
    }

    /// Whether the source in `slot` has a row at `timestamp`.
    pub(crate) fn holds(&self, slot: u32, timestamp: i64) -> bool {
        let here = |run: &Run| self.rows.timestamps()[run.rows()].binary_search(&timestamp).is_ok();
        (self.oldest..=self.newest).contains(&timestamp) && self.run_of(slot).is_some_and(here)
    }

    /// Memory of the chunk, without identities and shapes.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + size_of_val::<[Run]>(&self.runs) + size_of::<Self>() + 128
    }

    /// Memory of a run's rows.
    pub(crate) fn run_bytes(&self, run: &Run) -> usize {
        self.rows.columns().payload_len(run.rows()) + run.rows().len() * row_bytes(self.kind())
    }

    /// Which rows of `run` are visible if `floor` is the first ordinal that is.
    ///
    /// The rows that are gone are those that arrived first, and sequence numbers of a source grow as its rows arrive.
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
        if seqs.is_sorted() {
            return Visible::FromSeq(seqs[dead]);
        }
        let mut seqs = seqs.to_vec();
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
