//! Merges several chunks into one, without their expired rows.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashMap;

use super::{Chunk, Run, Visible};
use crate::rows::{Columns, ERR};

/// A range of rows that are adjacent both in their chunk and in the result.
#[derive(Debug, Clone, Copy)]
struct Piece {
    chunk: usize,
    start: usize,
    end: usize,
}

impl Piece {
    const fn rows(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// Merges adjacent chunks of one kind. Rows below the `floor` of their source are left out; `None` if no row is left.
pub(crate) fn merge(chunks: &[Arc<Chunk>], floor: impl Fn(u32) -> u64) -> Option<Chunk> {
    let oldest = chunks.first()?;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    let mut total = 0usize;
    let mut sources = BySource {
        chunks,
        next: vec![0; chunks.len()],
    };
    let mut group = Vec::with_capacity(chunks.len());
    while let Some(source) = sources.next(&mut group) {
        let floor = floor(source);
        let first_piece = pieces.len();
        let mut first = None;
        for (chunk, run) in &group {
            let before = pieces.len();
            push_visible(&chunks[*chunk], *chunk, run, floor, &mut pieces);
            if pieces.len() > before {
                // The first chunk that still has visible rows holds the oldest ordinals of the run.
                first.get_or_insert((run.first.max(floor), &run.source));
            }
        }
        // All rows of the source have expired.
        let Some((first, source)) = first else { continue };
        sort_by_time(chunks, &mut pieces, first_piece);
        let start = total;
        total += pieces[first_piece..]
            .iter()
            .map(|piece| piece.rows().len())
            .sum::<usize>();
        runs.push(Run {
            source: Arc::clone(source),
            start: position(start),
            end: position(total),
            first,
        });
    }
    if total == 0 {
        return None;
    }
    let columns = |piece: &Piece| chunks[piece.chunk].rows.columns();
    let payload = pieces
        .iter()
        .map(|piece| columns(piece).payload_len(piece.rows()))
        .sum();
    let mut identities = Renumber::new(chunks.iter().map(|chunk| chunk.rows.identities()).collect());
    let mut shapes = Renumber::new(chunks.iter().map(|chunk| chunk.rows.shapes()).collect());
    let mut merged = Columns::with_capacity(oldest.kind(), total, payload);
    for piece in &pieces {
        let from = columns(piece);
        for identity in &from.identities[piece.rows()] {
            identities.see(piece.chunk, identity & !ERR);
        }
        for shape in from.shapes.get(piece.rows()).unwrap_or_default() {
            shapes.see(piece.chunk, *shape);
        }
        merged.copy(
            from,
            piece.rows(),
            &identities.numbers[piece.chunk],
            &shapes.numbers[piece.chunk],
        );
    }
    let rows = merged.finish(oldest.kind(), identities.table, shapes.table);
    Some(Chunk::new(rows, runs, oldest.born))
}

/// Iterates over the runs of several chunks, source by source.
#[derive(Debug)]
struct BySource<'a> {
    chunks: &'a [Arc<Chunk>],
    /// The index of the next run, by chunk.
    next: Vec<usize>,
}

impl<'a> BySource<'a> {
    /// Returns the slot of the next source, and sets `group` to its runs with the numbers of their chunks.
    fn next(&mut self, group: &mut Vec<(usize, &'a Run)>) -> Option<u32> {
        group.clear();
        let heads = self
            .chunks
            .iter()
            .zip(&self.next)
            .map(|(chunk, next)| chunk.runs.get(*next));
        let slot = heads.flatten().map(|run| run.source.slot()).min()?;
        for (number, chunk) in self.chunks.iter().enumerate() {
            if let Some(run) = chunk
                .runs
                .get(self.next[number])
                .filter(|run| run.source.slot() == slot)
            {
                group.push((number, run));
                self.next[number] += 1;
            }
        }
        Some(slot)
    }
}

/// Appends the visible rows of a run as pieces.
fn push_visible(chunk: &Chunk, number: usize, run: &Run, floor: u64, pieces: &mut Vec<Piece>) {
    let rows = run.rows();
    match chunk.visible(run, floor) {
        Visible::All => pieces.push(Piece {
            chunk: number,
            start: rows.start,
            end: rows.end,
        }),
        Visible::Nothing => {}
        Visible::FromSeq(from) => {
            let mut open: Option<Piece> = None;
            for row in rows {
                if chunk.rows.seqs()[row] >= from {
                    open.get_or_insert(Piece {
                        chunk: number,
                        start: row,
                        end: row,
                    })
                    .end = row + 1;
                } else if let Some(piece) = open.take() {
                    pieces.push(piece);
                }
            }
            pieces.extend(open);
        }
    }
}

/// Sorts the rows of one source, which are the pieces from `from` on, by time. Equal times stay in the order of
/// arrival.
fn sort_by_time(chunks: &[Arc<Chunk>], pieces: &mut Vec<Piece>, from: usize) {
    let time = |chunk: usize, row: usize| chunks[chunk].rows.timestamps()[row];
    // Usually each chunk continues where the last one ended, and whole runs can be copied.
    let in_order = pieces[from..]
        .windows(2)
        .all(|pair| time(pair[0].chunk, pair[0].end - 1) <= time(pair[1].chunk, pair[1].start));
    if in_order {
        return;
    }
    let mut rows: Vec<(i64, usize, usize)> = pieces[from..]
        .iter()
        .flat_map(|piece| piece.rows().map(|row| (time(piece.chunk, row), piece.chunk, row)))
        .collect();
    rows.sort_by_key(|row| row.0);
    pieces.truncate(from);
    for (_, chunk, row) in rows {
        match pieces[from..].last_mut() {
            Some(last) if last.chunk == chunk && last.end == row => last.end = row + 1,
            _ => pieces.push(Piece {
                chunk,
                start: row,
                end: row + 1,
            }),
        }
    }
}

/// Gives the values that are in use new numbers. A value that several chunks share gets one number.
#[derive(Debug)]
struct Renumber<'a, T> {
    values: Vec<&'a [Arc<T>]>,
    /// The new number, by chunk and old number.
    numbers: Vec<Vec<u32>>,
    by_address: AHashMap<*const T, u32>,
    table: Vec<Arc<T>>,
}

impl<'a, T> Renumber<'a, T> {
    fn new(values: Vec<&'a [Arc<T>]>) -> Self {
        let numbers = values.iter().map(|values| vec![u32::MAX; values.len()]).collect();
        Self {
            values,
            numbers,
            by_address: AHashMap::new(),
            table: Vec::new(),
        }
    }

    #[inline]
    fn see(&mut self, chunk: usize, old: u32) {
        let number = &mut self.numbers[chunk][old as usize];
        if *number == u32::MAX {
            let value = &self.values[chunk][old as usize];
            let table = &mut self.table;
            // The interner keeps one copy of equal values, so the address identifies the value.
            *number = *self.by_address.entry(Arc::as_ptr(value)).or_insert_with(|| {
                table.push(Arc::clone(value));
                position(table.len() - 1)
            });
        }
    }
}

fn position(value: usize) -> u32 {
    u32::try_from(value).expect("merges are limited to far fewer rows")
}
