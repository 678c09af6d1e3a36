//! What a caller may see.

use std::collections::HashSet;
use std::sync::Arc;

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
