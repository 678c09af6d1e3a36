//! The active part of a kind: the rows that arrived since the last chunk was sealed, in the order of arrival.

use std::sync::Arc;

use weir_envelope::batch::Kind;

use super::{Chunk, Run};
use crate::identity::Identity;
use crate::meta::Span;
use crate::rows::{Columns, ERR, Row, Rows};
use crate::shape::Shape;
use crate::source::Source;

/// A source with rows in the active part.
#[derive(Debug)]
struct ActiveSource {
    source: Arc<Source>,
    /// The ordinal of the source's first row in the active part.
    first: u64,
    rows: u32,
}

/// The rows that arrived since the last chunk was sealed.
#[derive(Debug)]
pub(crate) struct Active {
    kind: Kind,
    columns: Columns,
    /// The identities to which the rows refer, appended by the interner.
    pub(crate) identities: Vec<Arc<Identity>>,
    /// The shapes to which the rows refer, appended by the interner.
    pub(crate) shapes: Vec<Arc<Shape>>,
    /// The number of the source of each identity, by the identity's number.
    source_of: Vec<u32>,
    sources: Vec<ActiveSource>,
    /// The memory of the identities and shapes that are new with these rows, in bytes.
    new_bytes: usize,
}

impl Active {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            columns: Columns::with_capacity(kind, 0, 0),
            identities: Vec::new(),
            shapes: Vec::new(),
            source_of: Vec::new(),
            sources: Vec::new(),
            new_bytes: 0,
        }
    }

    /// Reserves room for `rows` rows with `payload` bytes, so that appending neither moves rows nor allocates.
    pub(crate) fn reserve(&mut self, rows: usize, payload: usize) {
        self.columns.reserve(self.kind, rows, payload);
    }

    pub(crate) const fn len(&self) -> usize {
        self.columns.len()
    }

    /// The payload so far and the memory of new values, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.columns.payload_len() + self.new_bytes
    }

    /// The memory of the columns and tables, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.bytes()
            + (self.identities.capacity() + self.shapes.capacity()) * size_of::<usize>()
            + self.source_of.capacity() * 4
            + self.sources.capacity() * size_of::<ActiveSource>()
    }

    /// Adds a source whose next row has the ordinal `first`, and returns its number.
    pub(crate) fn add_source(&mut self, source: &Arc<Source>, first: u64) -> u32 {
        self.sources.push(ActiveSource {
            source: Arc::clone(source),
            first,
            rows: 0,
        });
        u32::try_from(self.sources.len() - 1).expect("the active part is small")
    }

    /// Notes the source of an identity that was just appended, and the memory of new values.
    #[inline]
    pub(crate) fn note_values(&mut self, source: u32, new_bytes: usize) {
        // An identity that was in use before has its entry already.
        if self.source_of.len() < self.identities.len() {
            self.source_of.push(source);
        }
        self.new_bytes += new_bytes;
    }

    /// Appends a row of the source with number `source`.
    #[inline]
    pub(crate) fn push(&mut self, source: u32, row: Row<'_>) {
        self.columns.push(row);
        self.sources[source as usize].rows += 1;
    }

    /// Returns the span of timestamps of the visible rows of each `wanted` source. `floor` gives the first visible
    /// ordinal of a slot.
    pub(crate) fn spans(
        &self,
        wanted: impl Fn(u32) -> bool,
        floor: impl Fn(u32) -> u64,
    ) -> impl Iterator<Item = (u32, Span)> {
        let hidden = |source: &ActiveSource| {
            let slot = source.source.slot();
            if wanted(slot) {
                floor(slot).saturating_sub(source.first)
            } else {
                u64::MAX
            }
        };
        let mut hidden: Vec<u64> = self.sources.iter().map(hidden).collect();
        let mut spans: Vec<Option<Span>> = vec![None; self.sources.len()];
        let rows = self.columns.as_ref();
        for (timestamp, identity) in rows.timestamps.iter().zip(rows.identities) {
            let source = self.source_of[(identity & !ERR) as usize] as usize;
            // Rows of a source are in the order of their ordinals, so the first ones are the expired ones.
            if hidden[source] > 0 {
                hidden[source] -= 1;
                continue;
            }
            spans[source] = Some(Span::of(*timestamp, *timestamp).and(spans[source]));
        }
        let slots = self.sources.iter().map(|source| source.source.slot());
        slots.zip(spans).filter_map(|(slot, span)| Some((slot, span?)))
    }

    /// Whether the source with number `source` has a row at `timestamp`.
    pub(crate) fn holds(&self, source: u32, timestamp: i64) -> bool {
        let rows = self.columns.as_ref();
        let mut found = rows.timestamps.iter().zip(rows.identities);
        found.any(|(found, identity)| *found == timestamp && self.source_of[(identity & !ERR) as usize] == source)
    }

    /// Removes all rows and values, and keeps the room for rows and for at most `payload` bytes.
    pub(crate) fn clear(&mut self, payload: usize) {
        self.columns.clear(payload);
        self.identities.clear();
        self.shapes.clear();
        self.source_of.clear();
        self.sources.clear();
        self.new_bytes = 0;
    }

    /// Returns a sorted copy of all visible rows; `None` if there are none. `floor` gives the first visible ordinal of
    /// a slot.
    pub(crate) fn seal(&self, born: u64, floor: impl Fn(u32) -> u64) -> Option<Chunk> {
        self.seal_sources(born, floor, (0u32..).zip(&self.sources).collect())
    }

    /// Returns a sorted copy of the visible rows of the source with number `number`; `None` if there are none.
    pub(crate) fn seal_source(&self, number: u32, born: u64, floor: u64) -> Option<Chunk> {
        self.seal_sources(born, |_| floor, vec![(number, &self.sources[number as usize])])
    }

    /// Returns a sorted copy of the visible rows of the chosen sources.
    fn seal_sources(
        &self,
        born: u64,
        floor: impl Fn(u32) -> u64,
        mut chosen: Vec<(u32, &ActiveSource)>,
    ) -> Option<Chunk> {
        // The runs of a chunk are ordered by slot, for binary searches.
        chosen.sort_unstable_by_key(|(_, source)| source.source.slot());
        // A counting sort: the position for the next row of each source, by number. `usize::MAX` marks sources that
        // were not chosen.
        let mut cursors = vec![
            Cursor {
                next: usize::MAX,
                dead: 0
            };
            self.sources.len()
        ];
        let mut runs: Vec<Run> = Vec::with_capacity(chosen.len());
        let mut total = 0usize;
        for (number, source) in chosen {
            let dead = floor(source.source.slot())
                .saturating_sub(source.first)
                .min(u64::from(source.rows));
            let live = u64::from(source.rows) - dead;
            if live == 0 {
                continue;
            }
            cursors[number as usize] = Cursor { next: total, dead };
            let start = u32::try_from(total).expect("the active part is small");
            total += usize::try_from(live).expect("the active part is small");
            runs.push(Run {
                source: Arc::clone(&source.source),
                start,
                end: u32::try_from(total).expect("the active part is small"),
                first: source.first + dead,
            });
        }
        if total == 0 {
            return None;
        }
        let mut order = vec![0u32; total];
        let from = self.columns.as_ref();
        let mut payload = 0;
        for (row, identity) in from.identities.iter().enumerate() {
            let cursor = &mut cursors[self.source_of[(identity & !ERR) as usize] as usize];
            if cursor.next == usize::MAX {
                continue;
            }
            if cursor.dead > 0 {
                cursor.dead -= 1;
                continue;
            }
            order[cursor.next] = u32::try_from(row).expect("the active part is small");
            cursor.next += 1;
            payload += from.payload_len(row..row + 1);
        }
        for run in &runs {
            let rows = &mut order[run.rows()];
            // The rows of a source are in the order of their sequence numbers, so a stable sort by time keeps that
            // order among equal times.
            if !rows.is_sorted_by_key(|row| from.timestamps[*row as usize]) {
                rows.sort_by_key(|row| from.timestamps[*row as usize]);
            }
        }
        // Only values that the chosen rows use get into the chunk: a reader must not find those of other sources in it.
        let mut identities = Renumber::new(self.identities.len());
        let mut shapes = Renumber::new(self.shapes.len());
        for row in &order {
            identities.see(from.identities[*row as usize] & !ERR);
            if let Some(shape) = from.shapes.get(*row as usize) {
                shapes.see(*shape);
            }
        }
        let mut columns = Columns::with_capacity(self.kind, total, payload);
        for row in &order {
            let row = *row as usize;
            columns.copy(from, row..row + 1, &identities.numbers, &shapes.numbers);
        }
        let rows = columns.finish(self.kind, identities.pick(&self.identities), shapes.pick(&self.shapes));
        Some(Chunk::new(rows, runs, born))
    }

    /// Returns a copy of the rows from `start` on, in the order of arrival.
    pub(crate) fn since(&self, start: usize) -> Rows {
        let from = self.columns.as_ref();
        let rows = start..self.len();
        let mut identities = Renumber::new(self.identities.len());
        let mut shapes = Renumber::new(self.shapes.len());
        for row in rows.clone() {
            identities.see(from.identities[row] & !ERR);
            if let Some(shape) = from.shapes.get(row) {
                shapes.see(*shape);
            }
        }
        let mut columns = Columns::with_capacity(self.kind, rows.len(), from.payload_len(rows.clone()));
        columns.copy(from, rows, &identities.numbers, &shapes.numbers);
        columns.finish(self.kind, identities.pick(&self.identities), shapes.pick(&self.shapes))
    }

    /// Iterates over the sources with rows in the active part.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.iter().map(|source| &source.source)
    }
}

/// The state of one source during the counting sort: the position for its next row, and its expired rows still to skip.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    next: usize,
    dead: u64,
}

/// Gives the values that are in use new numbers without gaps.
#[derive(Debug)]
struct Renumber {
    numbers: Vec<u32>,
    used: Vec<u32>,
}

impl Renumber {
    fn new(len: usize) -> Self {
        Self {
            numbers: vec![u32::MAX; len],
            used: Vec::with_capacity(len),
        }
    }

    /// Notes that the value with number `old` is in use.
    fn see(&mut self, old: u32) {
        let number = &mut self.numbers[old as usize];
        if *number == u32::MAX {
            *number = u32::try_from(self.used.len()).expect("the active part is small");
            self.used.push(old);
        }
    }

    /// Returns the values that are in use, in the order of their new numbers.
    fn pick<T>(&self, values: &[Arc<T>]) -> Vec<Arc<T>> {
        self.used.iter().map(|old| Arc::clone(&values[*old as usize])).collect()
    }
}
