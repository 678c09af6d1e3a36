//! Chooses the chunks that are merged.

use std::ops::Range;
use std::sync::Arc;

use weir_envelope::batch::Kind;

use crate::chunk::Chunk;
use crate::lane::Lane;
use crate::limits::Sizing;

/// The number of adjacent small chunks that are merged even if they do not make a full chunk.
pub(crate) const FAN_IN: usize = 16;

/// The chunks of a kind at one moment.
#[derive(Debug)]
pub(crate) struct LaneView {
    pub(crate) kind: Kind,
    pub(crate) chunks: Arc<Vec<Arc<Chunk>>>,
    /// The first visible ordinal, by slot.
    pub(crate) floors: Vec<u64>,
}

impl LaneView {
    /// The first visible ordinal of the source in `slot`.
    pub(crate) fn floor(&self, slot: u32) -> u64 {
        self.floors.get(slot as usize).copied().unwrap_or(0)
    }

    /// Returns the number of expired rows of `chunk`, and an estimate of their bytes.
    pub(crate) fn dead(&self, chunk: &Chunk) -> (u64, usize) {
        chunk.runs().iter().fold((0, 0), |(rows, bytes), run| {
            let dead = run.dead(self.floor(run.source().slot()));
            if dead == 0 {
                (rows, bytes)
            } else {
                (rows + dead, bytes + share(chunk.run_bytes(run), dead, run.len()))
            }
        })
    }
}

/// Returns the bytes of `part` rows, if `whole` rows take `bytes` together.
pub(crate) fn share(bytes: usize, part: u64, whole: u64) -> usize {
    usize::try_from(bytes as u128 * u128::from(part) / u128::from(whole.max(1))).unwrap_or(bytes)
}

/// The share of a chunk that must have expired before the chunk is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpiredShare {
    /// Any part, if sources have to be forgotten.
    Any,
    /// An eighth, if memory is short.
    Eighth,
    /// A half, in regular maintenance, so that a row is copied for this no more than about twice.
    Half,
}

impl ExpiredShare {
    const fn is_enough(self, dead: usize, all: usize) -> bool {
        match self {
            Self::Any => dead > 0,
            Self::Eighth => dead > 0 && dead * 8 >= all,
            Self::Half => dead > 0 && dead * 2 >= all,
        }
    }
}

/// Returns the groups of adjacent chunks that are to be merged into one chunk each, in order.
pub(crate) fn groups(view: &LaneView, sizing: &Sizing, enough: ExpiredShare) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut open = Group::default();
    for (index, chunk) in view.chunks.iter().enumerate() {
        let (dead_rows, dead_bytes) = view.dead(chunk);
        let rows = chunk.rows().len() - usize::try_from(dead_rows).unwrap_or(usize::MAX).min(chunk.rows().len());
        let bytes = chunk.bytes().saturating_sub(dead_bytes);
        let rewrite = enough.is_enough(dead_bytes, chunk.bytes());
        let candidate = rewrite || is_small(rows, bytes, sizing);
        let fits = open.rows + rows <= sizing.chunk_rows && open.bytes + bytes <= sizing.chunk_bytes;
        // Only adjacent chunks can be merged, because chunks must stay in the order of arrival.
        if !candidate || !fits {
            open.close(!fits, &mut groups);
        }
        if candidate {
            open.add(index, rows, bytes, rewrite);
        }
    }
    open.close(false, &mut groups);
    groups
}

/// Whether a chunk of this size should be merged with adjacent ones.
fn is_small(rows: usize, bytes: usize, sizing: &Sizing) -> bool {
    rows <= sizing.chunk_rows / 4 && bytes <= sizing.chunk_bytes / 4
}

/// A group of adjacent chunks that is being collected.
#[derive(Debug, Default)]
struct Group {
    start: usize,
    len: usize,
    rows: usize,
    bytes: usize,
    rewrite: bool,
}

impl Group {
    fn add(&mut self, index: usize, rows: usize, bytes: usize, rewrite: bool) {
        if self.len == 0 {
            self.start = index;
        }
        self.len += 1;
        self.rows += rows;
        self.bytes += bytes;
        self.rewrite |= rewrite;
    }

    /// Ends the group, and appends it to `groups` if it is worth merging. `full` says that the next chunk would have
    /// belonged to it if there had been room.
    fn close(&mut self, full: bool, groups: &mut Vec<Range<usize>>) {
        let group = std::mem::take(self);
        if group.rewrite || group.len >= FAN_IN || (full && group.len > 1) {
            groups.push(group.start..group.start + group.len);
        }
    }
}

impl Lane {
    /// The number of small chunks at the end, which were sealed since the last merge.
    pub(crate) fn small_chunks(&self) -> usize {
        let small = |chunk: &&Arc<Chunk>| is_small(chunk.rows().len(), chunk.bytes(), self.sizing());
        self.chunks().iter().rev().take_while(small).count()
    }

    /// Whether there are enough small chunks to merge, or enough expired rows to rewrite chunks.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.dead() >= self.dead_limit() || {
            let small = self.small_chunks();
            let newest = self.chunks().iter().rev().take(small);
            small >= FAN_IN || newest.map(|chunk| chunk.rows().len()).sum::<usize>() >= self.sizing().chunk_rows
        }
    }
}
