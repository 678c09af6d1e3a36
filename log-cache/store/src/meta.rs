//! What there is of each source.

use weir_envelope::batch::Kind;

use crate::chunk::Visible;
use crate::store::Store;

/// What the store has of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceMeta {
    /// The source id.
    pub source_id: String,
    /// Envelopes that can be read.
    pub count: u64,
    /// Envelopes that can not be read any more.
    pub expired: u64,
    /// Smallest timestamp that can be read, in ns since the Unix epoch.
    pub oldest_timestamp: i64,
    /// Largest timestamp that can be read.
    pub newest_timestamp: i64,
}

impl Store {
    /// What there is of each source that has anything to read, ordered by source id.
    #[must_use]
    pub fn meta(&self) -> Vec<SourceMeta> {
        let mut times: Vec<Option<(i64, i64)>> = Vec::new();
        // Times first, then counts: a source that came in between has no times yet and is left out.
        for kind in Kind::ALL {
            let snapshot = self.snapshot(kind);
            for chunk in snapshot.chunks() {
                for run in chunk.runs() {
                    let slot = run.source().slot();
                    let rows = run.rows();
                    let stamps = chunk.rows().timestamps();
                    let seqs = chunk.rows().seqs();
                    let range = match chunk.visible(run, snapshot.floor(run.source())) {
                        Visible::Nothing => continue,
                        Visible::All => Some((stamps[rows.start], stamps[rows.end - 1])),
                        visible @ Visible::FromSeq(_) => {
                            let first = rows.clone().find(|row| visible.shows(seqs[*row]));
                            let last = rows.rev().find(|row| visible.shows(seqs[*row]));
                            first.zip(last).map(|(first, last)| (stamps[first], stamps[last]))
                        }
                    };
                    if times.len() <= slot as usize {
                        times.resize(slot as usize + 1, None);
                    }
                    let entry = &mut times[slot as usize];
                    *entry = match (*entry, range) {
                        (Some(known), Some(range)) => Some((known.0.min(range.0), known.1.max(range.1))),
                        (known, range) => known.or(range),
                    };
                }
            }
        }
        let mut metas: Vec<SourceMeta> = {
            let core = self.inner.core.lock();
            core.registry
                .iter()
                .filter_map(|slot| {
                    let (oldest_timestamp, newest_timestamp) =
                        times.get(slot.source.slot() as usize).copied().flatten()?;
                    let count: u64 = slot.tallies.iter().map(|tally| tally.live()).sum();
                    (count > 0).then(|| SourceMeta {
                        source_id: slot.source.id().to_owned(),
                        count,
                        expired: slot.tallies.iter().map(|tally| tally.expired).sum(),
                        oldest_timestamp,
                        newest_timestamp,
                    })
                })
                .collect()
        };
        metas.sort_unstable_by(|left, right| left.source_id.cmp(&right.source_id));
        metas
    }
}
