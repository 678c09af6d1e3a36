//! Snapshots: the rows of one kind at one moment, for readers.

use std::ops::Range;
use std::sync::Arc;

use weir_envelope::batch::Kind;

use crate::chunk::{Chunk, Run, Visible};
use crate::source::Source;
use crate::store::Store;

/// The rows of one kind at one moment.
///
/// A snapshot keeps its chunks. Rows that expire later are still visible in it, and their memory is freed when it is
/// dropped.
#[derive(Debug, Clone)]
pub struct Snapshot {
    kind: Kind,
    chunks: Vec<Arc<Chunk>>,
    /// The first visible ordinal, by slot.
    floors: Arc<Vec<u64>>,
}

/// A selection of rows of a chunk: ranges in order, without overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    ranges: Vec<Range<usize>>,
    rows: usize,
}

impl Selection {
    /// The ranges of rows.
    #[must_use]
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// The number of selected rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row is selected.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Appends rows that lie behind all selected ones.
    pub fn push(&mut self, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        self.rows += rows.len();
        match self.ranges.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => self.ranges.push(rows),
        }
    }
}

impl Store {
    /// Returns the rows of `kind` at this moment. The active part is copied, and chunks are shared.
    #[must_use]
    pub fn snapshot(&self, kind: Kind) -> Snapshot {
        let core = self.inner.core.lock();
        let lane = &core.lanes[kind.index()];
        let active = lane.active().seal(u64::MAX, |slot| core.registry.floor(kind, slot));
        // Chunks and floors are read under one lock, so that they belong to one moment.
        let chunks = Arc::clone(lane.chunks());
        let floors = Arc::new(core.registry.floors(kind));
        drop(core);
        let chunks = chunks.iter().cloned().chain(active.map(Arc::new)).collect();
        Snapshot { kind, chunks, floors }
    }
}

impl Snapshot {
    /// The kind of the rows.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The chunks, in the order of arrival.
    #[must_use]
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// The number of slots, in use or free, at the time of the snapshot.
    pub(crate) fn slots(&self) -> usize {
        self.floors.len()
    }

    /// The first visible ordinal of `source`.
    pub(crate) fn floor(&self, source: &Source) -> u64 {
        self.floors.get(source.slot() as usize).copied().unwrap_or(0)
    }

    /// Returns the visible rows of `chunk` with timestamps in `time`, of the sources for which `keep` is true.
    #[must_use]
    pub fn select(&self, chunk: &Chunk, keep: impl Fn(&Source) -> bool, time: &TimeRange) -> Selection {
        let mut selection = Selection::default();
        let (oldest, newest) = chunk.time_range();
        if newest < time.first || oldest > time.last {
            return selection;
        }
        for run in chunk.runs().iter().filter(|run| keep(run.source())) {
            self.select_run(chunk, run, time, &mut selection);
        }
        selection
    }

    fn select_run(&self, chunk: &Chunk, run: &Run, time: &TimeRange, selection: &mut Selection) {
        let rows = time.within(chunk, run);
        if rows.is_empty() {
            return;
        }
        match chunk.visible(run, self.floor(run.source())) {
            Visible::All => selection.push(rows),
            Visible::Nothing => {}
            visible @ Visible::FromSeq(_) => {
                for row in rows.filter(|row| visible.shows(chunk.rows().seqs()[*row])) {
                    selection.push(row..row + 1);
                }
            }
        }
    }
}

/// A range of timestamps, of which both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The smallest timestamp, in nanoseconds since the Unix epoch.
    pub first: i64,
    /// The greatest timestamp, in nanoseconds since the Unix epoch.
    pub last: i64,
}

impl TimeRange {
    /// The range of all timestamps.
    pub const ALL: Self = Self {
        first: i64::MIN,
        last: i64::MAX,
    };

    /// Returns the rows of `run` with timestamps in this range.
    pub(crate) fn within(&self, chunk: &Chunk, run: &Run) -> Range<usize> {
        let rows = run.rows();
        let times = &chunk.rows().timestamps()[rows.clone()];
        // As a rule the whole run lies in the range, which a comparison of its ends shows without a search.
        let start = if times.first().is_some_and(|first| *first >= self.first) {
            0
        } else {
            times.partition_point(|time| *time < self.first)
        };
        let end = if times.last().is_some_and(|last| *last <= self.last) {
            times.len()
        } else {
            times.partition_point(|time| *time <= self.last)
        };
        rows.start + start..rows.start + end.max(start)
    }
}
