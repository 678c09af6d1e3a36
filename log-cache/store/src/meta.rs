//! The number and the time range of the envelopes of each source (`meta` of the log cache's API).

use ahash::AHashMap;
use weir_envelope::batch::{Kind, source_hash};

use crate::chunk::{Chunk, Run, Visible};
use crate::lane::Lane;
use crate::source::Slot;
use crate::store::Store;

/// The envelopes that the store has of one source, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceMeta {
    /// The source id.
    pub source_id: String,
    /// The number of envelopes that can be read.
    pub count: u64,
    /// The number of envelopes that have expired.
    pub expired: u64,
    /// The smallest timestamp that can be read, in nanoseconds since the Unix epoch.
    pub oldest_timestamp: i64,
    /// The greatest timestamp that can be read, in nanoseconds since the Unix epoch.
    pub newest_timestamp: i64,
}

/// A range of timestamps, of which both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    oldest: i64,
    newest: i64,
}

impl Span {
    pub(crate) const fn of(oldest: i64, newest: i64) -> Self {
        Self { oldest, newest }
    }

    /// Returns the smallest span that covers both.
    pub(crate) fn and(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self {
            oldest: self.oldest.min(other.oldest),
            newest: self.newest.max(other.newest),
        })
    }
}

impl Store {
    /// Returns the numbers of each source that has visible envelopes, ordered by source id.
    #[must_use]
    pub fn meta(&self) -> Vec<SourceMeta> {
        let mut spans = AHashMap::new();
        // The lock is released between the kinds, so that ingest does not wait long. The spans are read before the
        // counts, so a source that appears in between has no span yet and is left out.
        for kind in Kind::ALL {
            let (chunks, floors) = {
                let core = self.inner.core.lock();
                let lane = &core.lanes[kind.index()];
                let floor = |slot| core.registry.floor(kind, slot);
                for (slot, span) in lane.active().spans(|_| true, floor) {
                    extend(&mut spans, slot, span);
                }
                (lane.chunks().clone(), core.registry.floors(kind))
            };
            for chunk in chunks.iter() {
                for run in chunk.runs() {
                    let slot = run.source().slot();
                    let floor = floors.get(slot as usize).copied().unwrap_or(0);
                    if let Some(span) = span(chunk, run, floor) {
                        extend(&mut spans, slot, span);
                    }
                }
            }
        }
        let mut metas: Vec<SourceMeta> = {
            let core = self.inner.core.lock();
            let slots = core.registry.iter();
            slots
                .filter_map(|slot| describe(slot, *spans.get(&slot.source.slot())?))
                .collect()
        };
        // After the lock is released.
        metas.sort_unstable_by(|left, right| left.source_id.cmp(&right.source_id));
        metas
    }

    /// Returns the numbers of one source; `None` if it has no visible envelope. It takes a few microseconds, however
    /// many other sources there are.
    #[must_use]
    pub fn meta_of(&self, source_id: &str) -> Option<SourceMeta> {
        let (mut meta, lanes, mut spans) = {
            let core = self.inner.core.lock();
            let slot = core.registry.find(source_hash(source_id), source_id)?;
            let mine = slot.source.slot();
            let held = |lane: &&Lane| slot.tallies[lane.kind().index()].live() > 0;
            let mut spans: Option<Span> = None;
            let mut lanes = Vec::new();
            for lane in core.lanes.iter().filter(held) {
                let tally = &slot.tallies[lane.kind().index()];
                if tally.epoch == lane.epoch() {
                    let active = lane.active().spans(|slot| slot == mine, |_| tally.expired);
                    spans = active.fold(spans, |spans, (_, span)| Some(span.and(spans)));
                }
                lanes.push((lane.chunks().clone(), tally.expired));
            }
            (describe(slot, Span::of(0, 0))?, (mine, lanes), spans)
        };
        let (mine, lanes) = lanes;
        for (chunks, floor) in lanes {
            let runs = chunks.iter().filter_map(|chunk| Some((chunk, chunk.run_of(mine)?)));
            for span in runs.filter_map(|(chunk, run)| span(chunk, run, floor)) {
                spans = Some(span.and(spans));
            }
        }
        let Span { oldest, newest } = spans?;
        (meta.oldest_timestamp, meta.newest_timestamp) = (oldest, newest);
        Some(meta)
    }
}

/// Extends the span of a slot by another one.
fn extend(spans: &mut AHashMap<u32, Span>, slot: u32, span: Span) {
    let entry = spans.entry(slot).or_insert(span);
    *entry = span.and(Some(*entry));
}

/// Returns the span of the visible rows of `run`, if `floor` is the first visible ordinal.
fn span(chunk: &Chunk, run: &Run, floor: u64) -> Option<Span> {
    let rows = run.rows();
    let (stamps, seqs) = (chunk.rows().timestamps(), chunk.rows().seqs());
    match chunk.visible(run, floor) {
        Visible::Nothing => None,
        Visible::All => Some(Span::of(stamps[rows.start], stamps[rows.end - 1])),
        visible @ Visible::FromSeq(_) => {
            let first = rows.clone().find(|row| visible.shows(seqs[*row]))?;
            let last = rows.rev().find(|row| visible.shows(seqs[*row]))?;
            Some(Span::of(stamps[first], stamps[last]))
        }
    }
}

/// Returns the numbers of a slot with the given span; `None` if it has no visible row.
fn describe(slot: &Slot, span: Span) -> Option<SourceMeta> {
    let count: u64 = slot.tallies.iter().map(|tally| tally.live()).sum();
    (count > 0).then(|| SourceMeta {
        source_id: slot.source.id().to_owned(),
        count,
        expired: slot.tallies.iter().map(|tally| tally.expired).sum(),
        oldest_timestamp: span.oldest,
        newest_timestamp: span.newest,
    })
}
