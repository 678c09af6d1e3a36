//! The sources that a caller may read.

use std::collections::HashSet;
use std::sync::Arc;

/// The sources whose rows a caller may read.
///
/// It is determined once, from the caller's rights, and applied where rows are read. So no query can circumvent it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Visibility {
    /// All sources, for administrators.
    All,
    /// The given sources.
    Sources(Arc<HashSet<String, ahash::RandomState>>),
    /// No source.
    #[default]
    Nothing,
}

impl Visibility {
    /// Returns the visibility of the given sources only.
    pub fn sources<S: Into<String>>(sources: impl IntoIterator<Item = S>) -> Self {
        Self::Sources(Arc::new(sources.into_iter().map(Into::into).collect()))
    }

    /// Whether rows of this source may be read.
    #[must_use]
    pub fn shows(&self, source_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Sources(sources) => sources.contains(source_id),
            Self::Nothing => false,
        }
    }
}
