//! What a caller may see.

use std::collections::HashSet;
use std::sync::Arc;

use weir_log_cache_store::{Memo, Snapshot, Source};

/// Whose rows a caller may see. Decided once, by whoever knows the caller, and applied where rows are read: no query can
/// be written around it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Everything: administrators.
    All,
    /// Rows of these sources.
    Sources(Arc<HashSet<String, ahash::RandomState>>),
    /// Nothing.
    #[default]
    Nothing,
}

impl Visibility {
    /// Only rows of these sources.
    pub fn sources<S: Into<String>>(sources: impl IntoIterator<Item = S>) -> Self {
        Self::Sources(Arc::new(sources.into_iter().map(Into::into).collect()))
    }

    /// Whether rows of this source may be seen.
    #[must_use]
    pub fn shows(&self, source_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Sources(sources) => sources.contains(source_id),
            Self::Nothing => false,
        }
    }
}

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
