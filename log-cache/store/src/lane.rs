//! A lane: all rows of one kind, in the active part that grows and in the sealed chunks.

use std::sync::Arc;

use weir_envelope::batch::Kind;

use crate::chunk::{Active, Chunk};
use crate::identity::Identity;
use crate::ingest::Prepared;
use crate::intern::Interner;
use crate::limits::Sizing;
use crate::rows::{ERR, Row, has_shapes};
use crate::shape::Shape;
use crate::source::{Registry, Slot};
use crate::tap::Taps;

/// All rows of one kind.
#[derive(Debug)]
pub(crate) struct Lane {
    kind: Kind,
    sizing: Sizing,
    /// The number of the current filling of the active part. Numbers of sources and values are valid for one filling
    /// only.
    epoch: u64,
    active: Active,
    identities: Interner<Identity>,
    shapes: Interner<Shape>,
    chunks: Arc<Vec<Arc<Chunk>>>,
    chunk_bytes: usize,
    chunk_rows: u64,
    /// The number of visible rows.
    live: u64,
    /// The number of expired rows in memory from which on chunks are checked for rewriting.
    dead_limit: u64,
    taps: Taps,
}

impl Lane {
    pub(crate) fn new(kind: Kind, sizing: Sizing) -> Self {
        Self {
            kind,
            sizing,
            epoch: 1,
            active: Active::new(kind),
            identities: Interner::default(),
            shapes: Interner::default(),
            chunks: Arc::default(),
            chunk_bytes: 0,
            chunk_rows: 0,
            live: 0,
            dead_limit: sizing.active_rows as u64 * 4,
            taps: Taps::default(),
        }
    }

    /// Whether the active part has no room for a row of `payload` bytes and has to be sealed first.
    #[inline]
    pub(crate) fn is_full(&self, payload: usize) -> bool {
        let rows = self.active.len();
        rows > 0 && (rows >= self.sizing.active_rows || self.active.weight() + payload > self.sizing.active_bytes)
    }

    /// Appends an envelope of `slot` at `timestamp`; returns the number of the slot's rows that expired for it.
    #[inline]
    pub(crate) fn append(
        &mut self,
        slot: &mut Slot,
        timestamp: i64,
        envelope: &Prepared<'_>,
        scratch: &[u8],
        max_per_source: u64,
    ) -> u64 {
        // Allocated with the first row, so that kinds without rows take no memory.
        if self.active.len() == 0 {
            self.active.reserve(self.sizing.active_rows, self.sizing.active_bytes);
        }
        let tally = &mut slot.tallies[self.kind.index()];
        // The source's first row since the active part was emptied.
        if tally.epoch != self.epoch {
            tally.epoch = self.epoch;
            tally.local = self.active.add_source(&slot.source, tally.next);
        }
        let source = &slot.source;
        let head = envelope.head(scratch);
        let identity = self.identities.intern(
            envelope.head_hash ^ u64::from(source.slot()).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            // Equal tag sets of two sources are two identities, because a row finds its source through its identity.
            |found| Arc::ptr_eq(found.source(), source) && *found.head() == *head,
            || Identity::new(Arc::clone(source), head),
            self.epoch,
            &mut self.active.identities,
        );
        self.active.note_values(tally.local, identity.new_bytes);
        let shape = has_shapes(self.kind).then(|| {
            let bytes = envelope.shape(scratch);
            let shape = self.shapes.intern(
                envelope.shape_hash,
                |found| *found.bytes() == *bytes,
                || Shape::new(bytes),
                self.epoch,
                &mut self.active.shapes,
            );
            self.active.note_values(tally.local, shape.new_bytes);
            shape.local
        });
        let row = Row {
            timestamp,
            seq: slot.next_seq,
            identity: identity.local | if envelope.err { ERR } else { 0 },
            shape,
            payload: envelope.payload(scratch),
        };
        self.active.push(tally.local, row);
        slot.next_seq += 1;
        tally.next += 1;
        // Raising the floor makes the oldest row invisible. Its memory is freed when its chunk is rewritten.
        if tally.live() > max_per_source {
            tally.expired += 1;
            1
        } else {
            self.live += 1;
            0
        }
    }

    /// Whether the lane has a row of `slot` at `timestamp`, visible or not. It searches the active part and every chunk
    /// that covers the time, which takes some microseconds.
    pub(crate) fn holds(&self, slot: &Slot, timestamp: i64) -> bool {
        let tally = &slot.tallies[self.kind.index()];
        tally.next > 0
            && (tally.epoch == self.epoch && self.active.holds(tally.local, timestamp)
                || self
                    .chunks
                    .iter()
                    .any(|chunk| chunk.holds(slot.source.slot(), timestamp)))
    }

    /// Turns the active part into a chunk.
    pub(crate) fn seal(&mut self, registry: &Registry, born: u64) {
        let kind = self.kind;
        // Followers get the rows from the active part, which is emptied below.
        self.taps.publish(&self.active);
        if let Some(chunk) = self.active.seal(born, |slot| registry.floor(kind, slot)) {
            self.chunk_bytes += chunk.bytes();
            self.chunk_rows += chunk.rows().len() as u64;
            Arc::make_mut(&mut self.chunks).push(Arc::new(chunk));
        }
        // Makes all numbers of sources and values of this filling invalid, without a walk over them.
        self.epoch += 1;
        self.active.clear(self.sizing.active_bytes);
        self.taps.restart();
    }

    /// Replaces `count` chunks from index `start` on by `merged`. Returns the replaced chunks, which the caller drops
    /// without the lock, because freeing their memory takes time.
    pub(crate) fn replace(&mut self, start: usize, count: usize, merged: Option<Chunk>) -> Vec<Arc<Chunk>> {
        // Counted before the old chunks are subtracted, so that no count is ever negative.
        if let Some(chunk) = &merged {
            self.chunk_bytes += chunk.bytes();
            self.chunk_rows += chunk.rows().len() as u64;
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        let old: Vec<Arc<Chunk>> = chunks.splice(start..start + count, merged.map(Arc::new)).collect();
        for chunk in &old {
            self.chunk_bytes -= chunk.bytes();
            self.chunk_rows -= chunk.rows().len() as u64;
        }
        old
    }

    /// Drops values to which no row refers, after checking at most `limit` identities and `limit` shapes.
    pub(crate) fn sweep(&mut self, limit: usize) {
        self.identities.sweep(limit);
        self.shapes.sweep(limit);
    }

    /// The number of values that a complete sweep has to check.
    pub(crate) fn values(&self) -> usize {
        self.identities.len().max(self.shapes.len())
    }

    /// Notes that `count` visible rows have expired.
    pub(crate) const fn expired(&mut self, count: u64) {
        self.live -= count;
    }

    pub(crate) const fn taps_and_active(&mut self) -> (&mut Taps, &Active) {
        (&mut self.taps, &self.active)
    }

    pub(crate) const fn active(&self) -> &Active {
        &self.active
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) const fn chunks(&self) -> &Arc<Vec<Arc<Chunk>>> {
        &self.chunks
    }

    pub(crate) const fn sizing(&self) -> &Sizing {
        &self.sizing
    }

    /// The number of visible rows.
    pub(crate) const fn live(&self) -> u64 {
        self.live
    }

    /// The number of rows in memory that are not visible.
    pub(crate) const fn dead(&self) -> u64 {
        // Every visible row is in memory. The difference could be negative only within a replacement, where a chunk
        // goes before its rows are marked as expired.
        (self.chunk_rows + self.active.len() as u64).saturating_sub(self.live)
    }

    /// The number of expired rows from which on chunks are checked for rewriting.
    pub(crate) const fn dead_limit(&self) -> u64 {
        self.dead_limit
    }

    /// Notes that chunks were merged and rewritten, and raises the limit, so that the next check comes only after many
    /// more rows have expired.
    pub(crate) fn note_compacted(&mut self) {
        self.dead_limit = self.dead() + (self.chunk_rows / 8).max(self.sizing.active_rows as u64 * 4);
    }

    /// The memory of the lane, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.chunk_bytes + self.active.bytes() + self.identities.bytes() + self.shapes.bytes()
    }
}
