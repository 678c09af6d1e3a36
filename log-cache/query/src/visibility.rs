//! A snapshot of the store with the visibility of a caller.

use weir_log_cache_store::{Memo, Snapshot, Source, Visibility};

/// A snapshot with the visibility of a caller. Each source is looked up once for a query, and not once for each chunk.
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

    /// Whether rows of this source may be read. It must be a source of the snapshot.
    pub(crate) fn shows(&self, source: &Source) -> bool {
        match &self.visibility {
            Visibility::All => true,
            Visibility::Sources(sources) => self.memo.answer(source, || sources.contains(source.id())),
            Visibility::Nothing => false,
        }
    }
}
