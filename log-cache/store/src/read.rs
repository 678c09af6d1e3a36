//! Reading one source as the log cache's clients do (logging §14.2).
//!
//! A page holds the oldest (or, descending, the newest) envelopes of `[start, end)`, of all kinds wanted, ordered by
//! timestamp. No two envelopes of a source have one timestamp ([`crate::place`]): clients that go on behind the last
//! timestamp they saw lose nothing, wherever a page ends.

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

/// What to read.
#[derive(Debug, Clone)]
pub struct ReadQuery {
    /// Whose envelopes.
    pub source_id: String,
    /// First timestamp wanted, in ns since the Unix epoch.
    pub start: i64,
    /// First timestamp not wanted any more.
    pub end: i64,
    /// Most envelopes of a page.
    pub limit: usize,
    /// Which kinds; none means all.
    pub kinds: Vec<Kind>,
    /// Newest first.
    pub descending: bool,
    /// Only counters and timers with such a name, and such metrics of gauges. Logs and events have no name.
    pub name_filter: Option<Regex>,
    /// Largest page, in encoded bytes. An envelope alone may be larger.
    pub max_bytes: usize,
}

/// Envelopes that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// An encoded `EnvelopeBatch`.
    pub batch: Vec<u8>,
    /// How many envelopes there are in it.
    pub len: usize,
}

/// Why a page could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The envelopes wanted do not fit into a page.
    #[error("the reply would exceed `{max_bytes}` bytes")]
    TooLarge {
        /// What fits.
        max_bytes: usize,
    },
}

impl Store {
    /// Reads a page. A source that is not known has an empty one.
    ///
    /// Takes time by the rows it looks at: a few hundred microseconds for a thousand of them, milliseconds for a name
    /// filter that matches little.
    ///
    /// # Errors
    /// If the page would be too large; one with a limit of one never is.
    pub fn read(&self, query: &ReadQuery) -> Result<Page, ReadError> {
        if query.start >= query.end || query.limit == 0 {
            return Ok(Page::default());
        }
        let time = TimeRange {
            first: query.start,
            last: query.end - 1,
        };
        let parts = self.parts(query);
        let mut names = Names::new(query.name_filter.as_ref());
        let mut heap: BinaryHeap<Head<'_>> = parts
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

    /// The chunks in which there is something of the source, each with the source's floor.
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
                lanes.push((Arc::clone(lane.chunks()), tally.expired));
                if tally.epoch == lane.epoch() {
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

/// A source's run in a chunk.
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

/// Walks over the visible rows of a part in one direction.
#[derive(Debug)]
struct Cursor<'a> {
    rows: &'a Rows,
    visible: Visible,
    row: usize,
    /// The rows that are left, the current one included.
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

    /// Moves to the next visible row, if there is one.
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

    fn head(self, part: usize) -> Option<Head<'a>> {
        Some(Head {
            timestamp: self.rows.timestamps()[self.row],
            part,
            cursor: self,
        })
    }
}

/// The next row of a part, ordered so that the greatest comes first in the page.
#[derive(Debug)]
struct Head<'a> {
    timestamp: i64,
    part: usize,
    cursor: Cursor<'a>,
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.timestamp.cmp(&other.timestamp);
        if self.cursor.descending { order } else { order.reverse() }
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

/// Which metrics of a row are shown.
#[derive(Debug, Clone, Copy)]
enum Metrics<'a> {
    All,
    /// By position in the shape.
    Some(&'a [bool]),
}

/// Applies the name filter once to each shape.
#[derive(Debug)]
struct Names<'q> {
    filter: Option<&'q Regex>,
    shapes: AHashMap<*const Shape, Vec<bool>>,
}

impl<'q> Names<'q> {
    fn new(filter: Option<&'q Regex>) -> Self {
        Self {
            filter,
            shapes: AHashMap::new(),
        }
    }

    /// What of the row is shown, if anything.
    fn shows(&mut self, rows: &Rows, row: usize) -> Option<Metrics<'_>> {
        let Some(filter) = self.filter else {
            return Some(Metrics::All);
        };
        let shape = &rows.shapes()[rows.shape_index(row)];
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
