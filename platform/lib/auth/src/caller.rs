//! Who asks, and what they may see.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Which rows a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All sources.
    Everything,
    /// These sources and no other.
    Sources(Arc<BTreeSet<String>>),
}

/// Somebody whose token was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    name: String,
    scope: Scope,
}

impl Caller {
    /// A caller known as `name` in logs.
    #[must_use]
    pub fn new(name: impl Into<String>, scope: Scope) -> Self {
        Self {
            name: name.into(),
            scope,
        }
    }

    /// The name for logs: a user, a client, never a token.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole of what it may see: the row filter of every query.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether it may see rows of this source.
    #[must_use]
    pub fn may_read(&self, source_id: &str) -> bool {
        match &self.scope {
            Scope::Everything => true,
            Scope::Sources(sources) => sources.contains(source_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller sees what its scope names and nothing else.
    #[test]
    fn scope_decides() {
        let all = Caller::new("admin", Scope::Everything);
        assert!(all.may_read("anything"));
        let one = Caller::new("dev", Scope::Sources(Arc::new(BTreeSet::from(["app".to_owned()]))));
        assert!(one.may_read("app") && !one.may_read("ap") && !one.may_read(""));
    }
}
