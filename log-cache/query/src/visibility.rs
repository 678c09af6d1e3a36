//! What a caller may see of a snapshot.

use weir_log_cache_store::{Memo, Snapshot, Source, Visibility};

/// A snapshot, and what a caller may see of it: each source is looked up once for a query, not once for each chunk that has
/// it.
#[derive(Debug)]
pub(crate) struct Visible {
    pub(crate) snapshot: Snapshot,
    visibility: Visibility,
    memo: Memo,
}

impl Visible {
    pub(crate) fn new(visibility: Visibility, snapshot: Snapshot) -> Self {
        Self {
            visibility,
            memo: snapshot.memo(),
            snapshot,
        }
    }

    /// Whether rows of this source, which is one of the snapshot's, may be seen.
    pub(crate) fn shows(&self, source: &Source) -> bool {
        match &self.visibility {
            Visibility::All => true,
            Visibility::Sources(sources) => self.memo.answer(source, || sources.contains(source.id())),
            Visibility::Nothing => false,
        }
    }
}
