//! One kind at one moment, for readers.

use std::ops::Range;
use std::sync::Arc;

use weir_envelope::batch::Kind;

use crate::chunk::{Chunk, Run, Visible};
use crate::source::Source;
use crate::store::Store;

/// Everything of one kind at one moment. Holds on to its chunks: what expires meanwhile is still seen here, and its
/// memory comes free when the snapshot is dropped.
#[derive(Debug, Clone)]
pub struct Snapshot {
    kind: Kind,
    chunks: Vec<Arc<Chunk>>,
    /// By slot, the first ordinal that is visible.
    floors: Arc<Vec<u64>>,
}

/// Rows of a chunk: ranges in order, without overlap.
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

    /// Number of rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Appends rows that lie behind all there are.
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
    /// Everything of `kind` as it is now.
    #[must_use]
    pub fn snapshot(&self, kind: Kind) -> Snapshot {
        let core = self.inner.core.lock();
        let lane = &core.lanes[kind.index()];
        let active = lane.active().seal(u64::MAX, |slot| core.registry.floor(kind, slot));
        let chunks = Arc::clone(lane.chunks());
        let floors = Arc::new(core.registry.floors(kind));
        drop(core);
        let chunks = chunks.iter().cloned().chain(active.map(Arc::new)).collect();
        Snapshot { kind, chunks, floors }
    }
}

impl Snapshot {
    /// What kind this is of.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The chunks, in the order of arrival.
    #[must_use]
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Slots that were taken or free at that moment.
    pub(crate) fn slots(&self) -> usize {
        self.floors.len()
    }

    /// The first ordinal that is visible of `source`.
    pub(crate) fn floor(&self, source: &Source) -> u64 {
        self.floors.get(source.slot() as usize).copied().unwrap_or(0)
    }

    /// The rows of `chunk` that are visible, of sources that `keep` allows, with timestamps from `time`.
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

    /// The same of one source.
    #[must_use]
    pub fn select_source(&self, chunk: &Chunk, source: &Source, time: &TimeRange) -> Selection {
        let mut selection = Selection::default();
        if let Some(run) = chunk.run_of(source.slot()) {
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

/// Timestamps from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// Smallest timestamp, in ns since the Unix epoch.
    pub first: i64,
    /// Largest timestamp.
    pub last: i64,
}

impl TimeRange {
    /// All times.
    pub const ALL: Self = Self {
        first: i64::MIN,
        last: i64::MAX,
    };

    /// The rows of `run` in this range.
    pub(crate) fn within(&self, chunk: &Chunk, run: &Run) -> Range<usize> {
        let rows = run.rows();
        let times = &chunk.rows().timestamps()[rows.clone()];
        // Mostly a run lies in the range as a whole; looking at its ends costs least.
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
