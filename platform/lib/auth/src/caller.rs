//! A caller: who it is, what it may read, and for how long.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::lease::Lease;

/// The sources that a caller may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All sources.
    Everything,
    /// These sources and no other. A query looks each source up once, so the cost is that of the hash.
    Sources(Arc<HashSet<String, ahash::RandomState>>),
}

impl Scope {
    /// A scope of these sources. An empty name is left out, because it would mean "any" where sources are selected.
    pub fn sources<S: Into<String>>(sources: impl IntoIterator<Item = S>) -> Self {
        let sources = sources.into_iter().map(Into::into);
        Self::Sources(Arc::new(sources.filter(|source| !source.is_empty()).collect()))
    }

    /// Whether the scope contains this source.
    #[must_use]
    pub fn shows(&self, source_id: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Sources(sources) => !source_id.is_empty() && sources.contains(source_id),
        }
    }

    /// Whether the scope contains no source.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Sources(sources) if sources.is_empty())
    }

    /// How many sources the scope names.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Everything => 0,
            Self::Sources(sources) => sources.len(),
        }
    }

    /// Whether both scopes share one list in memory, or are both everything. This is cheaper than a comparison.
    pub(crate) fn shares_list(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, Self::Everything) => true,
            (Self::Sources(mine), Self::Sources(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => false,
        }
    }

    /// Whether the scope contains everything that `other` contains.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) => true,
            (Self::Sources(_), Self::Everything) => false,
            (Self::Sources(mine), Self::Sources(theirs)) => Arc::ptr_eq(mine, theirs) || theirs.is_subset(mine),
        }
    }
}

/// Why the rights of a caller ended while it was being served. The texts are for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token, its user or its client was revoked, or the key that signed it was withdrawn.
    #[error("the token was revoked")]
    Revoked,
    /// The token is still valid, but no longer allows everything that the caller reads.
    #[error("the right to read was withdrawn")]
    Withdrawn,
}

/// A user or client whose token was accepted. Clones are one caller.
#[derive(Clone)]
pub struct Caller {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: String,
    name: String,
    scope: Scope,
    firehose: bool,
    /// The token on which the rights rest. `None` if the rights have no end.
    lease: Option<Lease>,
}

impl Caller {
    /// A caller known as `name`, whose rights have no end.
    #[must_use]
    pub fn new(name: impl Into<String>, scope: Scope) -> Self {
        let name = name.into();
        let firehose = scope == Scope::Everything;
        Self {
            inner: Arc::new(Inner {
                id: name.clone(),
                name,
                scope,
                firehose,
                lease: None,
            }),
        }
    }

    /// A caller whose rights end with the token of `lease`.
    pub(crate) fn leased(lease: Lease) -> Self {
        let claims = lease.claims();
        Self {
            inner: Arc::new(Inner {
                id: claims.subject(),
                name: claims.display_name().to_owned(),
                scope: lease.scope().clone(),
                firehose: claims.has_scope("doppler.firehose"),
                lease: Some(lease),
            }),
        }
    }

    /// The token on which the caller's rights rest, if they have an end.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.inner.lease.as_ref()
    }

    /// The id of the caller: `user:<id>` or `client:<id>`. All tokens of one user or client have one id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The name of the user or client, for logs. It is never a token.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Everything that the caller may read, which is the row filter of every query.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.inner.scope
    }

    /// Whether the caller may read this source.
    #[must_use]
    pub fn may_read(&self, source_id: &str) -> bool {
        self.inner.scope.shows(source_id)
    }

    /// Whether the caller may open the v1 firehose. Not every caller that may read everything may open it.
    #[must_use]
    pub fn may_open_firehose(&self) -> bool {
        self.inner.firehose
    }

    /// Whether the caller's token has exactly this scope. A caller without a token that may read everything, as the
    /// operator of a stack, has every scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        match &self.inner.lease {
            Some(lease) => lease.claims().has_scope(scope),
            None => self.inner.scope == Scope::Everything,
        }
    }

    /// When the caller's token expires, in seconds since the Unix epoch. `None` if its rights have no end.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.inner.lease.as_ref().map(|lease| lease.claims().expires_at)
    }

    /// Checks that the caller's token is still valid, as far as is known here.
    ///
    /// # Errors
    /// Why the token is not valid any more.
    pub fn standing(&self) -> Result<(), Ended> {
        self.inner.lease.as_ref().map_or(Ok(()), Lease::standing)
    }

    /// Waits until the caller's rights end: the token expires, is revoked (which is known within seconds), or no longer
    /// allows everything that it did. Cancel safe. Never returns for a caller whose rights have no end.
    pub async fn ended(&self) -> Ended {
        match &self.inner.lease {
            Some(lease) => lease.ended().await,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Caller");
        debug.field("id", &self.inner.id).field("name", &self.inner.name);
        match &self.inner.scope {
            Scope::Everything => debug.field("scope", &"everything"),
            Scope::Sources(sources) => debug.field("sources", &sources.len()),
        };
        debug.finish_non_exhaustive()
    }
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        self.inner.id == other.inner.id && self.inner.scope == other.inner.scope
    }
}

impl Eq for Caller {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller may read the sources that its scope names and no other.
    #[test]
    fn a_caller_reads_what_its_scope_names() {
        let all = Caller::new("admin", Scope::Everything);
        assert!(all.may_read("anything") && all.may_open_firehose());
        let one = Caller::new("dev", Scope::sources(["app"]));
        assert!(one.may_read("app") && !one.may_read("ap") && !one.may_read(""));
        assert!(!one.may_open_firehose());
        assert!(all.has_scope("routing.routes.read") && !one.has_scope("app"));
    }

    /// The empty name, which selects every source, is in no scope except everything.
    #[test]
    fn the_empty_name_is_no_source() {
        let none = Scope::sources([""]);
        assert!(none.is_empty() && !none.shows(""));
        assert!(Scope::Everything.shows(""));
    }

    /// A scope covers itself and its parts, and not more.
    #[test]
    fn a_scope_covers_its_parts() {
        let (ab, a) = (Scope::sources(["a", "b"]), Scope::sources(["a"]));
        assert!(ab.covers(&a) && ab.covers(&ab) && !a.covers(&ab));
        assert!(Scope::Everything.covers(&ab) && !ab.covers(&Scope::Everything));
    }

    /// The rights of a caller without a token do not end.
    #[tokio::test]
    async fn some_rights_have_no_end() {
        let caller = Caller::new("admin", Scope::Everything);
        assert_eq!(caller.standing(), Ok(()));
        assert_eq!(caller.expires_at(), None);
        assert!(futures::FutureExt::now_or_never(caller.ended()).is_none());
    }
}
