//! Reads pages of one source for the clients of the log cache (logging §14.2).
//!
//! A page has the oldest (or, if descending, the newest) envelopes of `[start, end)` of all wanted kinds, ordered by
//! timestamp. The timestamps of a source are unique ([`crate::timestamps`]), so a client that continues behind the last
//! timestamp that it saw misses nothing, wherever the page ended.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use ahash::AHashMap;
use regex::Regex;
use thiserror::Error;
use weir_envelope::batch::{Kind, source_hash};

use crate::chunk::{Chunk, Visible};
use crate::rows::{Rows, has_shapes};
use crate::shape::Shape;
use crate::snapshot::TimeRange;
use crate::store::Store;

mod encode;

/// A request for a page.
#[derive(Debug, Clone)]
pub struct ReadQuery {
    /// The source id.
    pub source_id: String,
    /// The first wanted timestamp, in nanoseconds since the Unix epoch.
    pub start: i64,
    /// The end of the wanted timestamps, which is not wanted itself.
    pub end: i64,
    /// The greatest number of envelopes of the page.
    pub limit: usize,
    /// The wanted kinds; an empty list means all.
    pub kinds: Vec<Kind>,
    /// Whether the newest envelopes come first.
    pub descending: bool,
    /// A filter by name: only counters and timers with a matching name, and the matching metrics of gauges. Logs and
    /// events have no name and never match.
    pub name_filter: Option<Regex>,
    /// The greatest size of the page, in encoded bytes. A page of one envelope may be larger.
    pub max_bytes: usize,
}

/// A page of envelopes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The envelopes, as an encoded `EnvelopeBatch`.
    pub batch: Vec<u8>,
    /// The number of envelopes.
    pub len: usize,
}

/// The reason why a page could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The wanted envelopes exceed the greatest size of a page.
    #[error("the reply would exceed `{max_bytes}` bytes")]
    TooLarge {
        /// The greatest size of a page, in bytes.
        max_bytes: usize,
    },
}

impl Store {
    /// Reads a page. The page of an unknown source is empty.
    ///
    /// The time depends on the number of rows that are read: a few hundred microseconds for a thousand rows, and
    /// milliseconds for a name filter that matches few of many rows.
    ///
    /// # Errors
    /// If the page would be too large. A page with a limit of one envelope never is.
    pub fn read(&self, query: &ReadQuery) -> Result<Page, ReadError> {
        if query.start >= query.end || query.limit == 0 {
            return Ok(Page::default());
        }
        let time = TimeRange {
            first: query.start,
            last: query.end - 1,
        };
        let parts = self.parts(query);
        let mut names = NameFilter::new(query.name_filter.as_ref());
        // A merge over the runs: the heap has the next row of each.
        let mut heap: BinaryHeap<NextRow<'_>> = parts
            .iter()
            .enumerate()
            .filter_map(|(part, (chunk, floor))| Cursor::open(chunk, *floor, &time, query.descending)?.head(part))
            .collect();
        let mut page = Page::default();
        let mut envelope = Vec::with_capacity(512);
        while page.len < query.limit {
            let Some(mut head) = heap.pop() else { break };
            let rows = parts[head.part].0.rows();
            let row = head.cursor.row;
            if let Some(metrics) = names.shows(rows, row) {
                envelope.clear();
                encode::envelope(&mut envelope, rows, row, metrics);
                // The first envelope always fits, or a client could never read past a large one.
                if page.len > 0 && page.batch.len() + envelope.len() + 8 > query.max_bytes {
                    return Err(ReadError::TooLarge {
                        max_bytes: query.max_bytes,
                    });
                }
                weir_envelope::wire::put_bytes(&mut page.batch, 1, &envelope);
                page.len += 1;
            }
            let part = head.part;
            heap.extend(
                head.cursor
                    .advance()
                    .then_some(head)
                    .and_then(|head| head.cursor.head(part)),
            );
        }
        Ok(page)
    }

    /// Returns the runs of the source in all chunks, each with the first visible ordinal.
    fn parts(&self, query: &ReadQuery) -> Vec<(Part, u64)> {
        let wanted = |kind: &Kind| {
            (query.kinds.is_empty() || query.kinds.contains(kind)) && (query.name_filter.is_none() || has_shapes(*kind))
        };
        let mut lanes = Vec::new();
        let mut parts = Vec::new();
        let slot = {
            let core = self.inner.core.lock();
            let Some(slot) = core.registry.find(source_hash(&query.source_id), &query.source_id) else {
                return parts;
            };
            for kind in Kind::ALL.into_iter().filter(wanted) {
                let lane = &core.lanes[kind.index()];
                let tally = &slot.tallies[kind.index()];
                if tally.live() == 0 {
                    continue;
                }
                // The list of chunks is replaced and never changed, so a clone of the pointer is enough.
                lanes.push((Arc::clone(lane.chunks()), tally.expired));
                // Otherwise the source has no row in the active part, and `local` is the number of another source
                // there.
                if tally.epoch == lane.epoch() {
                    // Only this source's rows are copied out of the active part, so the lock is held for microseconds.
                    let active = lane.active().seal_source(tally.local, u64::MAX, tally.expired);
                    parts.extend(active.map(|chunk| {
                        (
                            Part {
                                chunk: Arc::new(chunk),
                                run: 0,
                            },
                            tally.expired,
                        )
                    }));
                }
            }
            slot.source.slot()
        };
        // Without the lock: the lists and chunks are immutable.
        for (chunks, floor) in lanes {
            parts.extend(chunks.iter().filter_map(|chunk| {
                let run = chunk
                    .runs()
                    .binary_search_by_key(&slot, |run| run.source().slot())
                    .ok()?;
                Some((
                    Part {
                        chunk: Arc::clone(chunk),
                        run,
                    },
                    floor,
                ))
            }));
        }
        parts
    }
}

/// The run of the source in a chunk.
#[derive(Debug)]
struct Part {
    chunk: Arc<Chunk>,
    run: usize,
}

impl Part {
    fn rows(&self) -> &Rows {
        self.chunk.rows()
    }
}

/// Iterates over the visible rows of a part, in one direction.
#[derive(Debug)]
struct Cursor<'a> {
    rows: &'a Rows,
    visible: Visible,
    row: usize,
    /// The number of rows left, with the current one.
    left: usize,
    descending: bool,
}

impl<'a> Cursor<'a> {
    fn open(part: &'a Part, floor: u64, time: &TimeRange, descending: bool) -> Option<Self> {
        let run = &part.chunk.runs()[part.run];
        let rows = time.within(&part.chunk, run);
        if rows.is_empty() {
            return None;
        }
        let visible = part.chunk.visible(run, floor);
        let row = if descending { rows.end - 1 } else { rows.start };
        let mut cursor = Self {
            rows: part.chunk.rows(),
            visible,
            row,
            left: rows.len(),
            descending,
        };
        (visible != Visible::Nothing && cursor.skip_hidden()).then_some(cursor)
    }

    /// Moves to the next visible row; returns whether there is one.
    fn advance(&mut self) -> bool {
        self.step() && self.skip_hidden()
    }

    fn step(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            self.row = if self.descending { self.row - 1 } else { self.row + 1 };
        }
        self.left > 0
    }

    fn skip_hidden(&mut self) -> bool {
        while !self.visible.shows(self.rows.seqs()[self.row]) {
            if !self.step() {
                return false;
            }
        }
        true
    }

    fn head(self, part: usize) -> Option<NextRow<'a>> {
        Some(NextRow {
            timestamp: self.rows.timestamps()[self.row],
            part,
            cursor: self,
        })
    }
}

/// The next row of a part. The order is such that the greatest comes first in the page, as a heap returns it.
#[derive(Debug)]
struct NextRow<'a> {
    timestamp: i64,
    part: usize,
    cursor: Cursor<'a>,
}

impl Ord for NextRow<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.timestamp.cmp(&other.timestamp);
        if self.cursor.descending { order } else { order.reverse() }
    }
}

impl PartialOrd for NextRow<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for NextRow<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for NextRow<'_> {}

/// The metrics of a row that are returned.
#[derive(Debug, Clone, Copy)]
enum Metrics<'a> {
    All,
    /// Whether each metric is returned, by its position in the shape.
    Some(&'a [bool]),
}

/// Applies the name filter once to each shape, and not to each row.
#[derive(Debug)]
struct NameFilter<'q> {
    filter: Option<&'q Regex>,
    shapes: AHashMap<*const Shape, Vec<bool>>,
}

impl<'q> NameFilter<'q> {
    fn new(filter: Option<&'q Regex>) -> Self {
        Self {
            filter,
            shapes: AHashMap::new(),
        }
    }

    /// Returns the metrics of the row that match; `None` if the row has no match.
    fn shows(&mut self, rows: &Rows, row: usize) -> Option<Metrics<'_>> {
        let Some(filter) = self.filter else {
            return Some(Metrics::All);
        };
        let shape = &rows.shapes()[rows.shape_index(row)];
        // By address, which is unique as long as the chunks are held. Chunks share most shapes.
        let shown = self.shapes.entry(Arc::as_ptr(shape)).or_insert_with(|| {
            if rows.kind() == Kind::Gauge {
                shape.metrics().map(|(name, _)| filter.is_match(name)).collect()
            } else {
                vec![filter.is_match(shape.name())]
            }
        });
        shown.contains(&true).then_some(Metrics::Some(shown))
    }
}
