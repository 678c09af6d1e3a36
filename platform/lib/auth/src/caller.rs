//! Who asks, what they may see, and for how long.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::lease::Lease;

/// Which rows a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All sources.
    Everything,
    /// These sources and no other. Looked up once for each source that a query meets: hashing is what that costs.
    Sources(Arc<HashSet<String, ahash::RandomState>>),
}

impl Scope {
    /// These sources. An empty name is none: it would mean "any" where sources are selected.
    pub fn sources<S: Into<String>>(sources: impl IntoIterator<Item = S>) -> Self {
        let sources = sources.into_iter().map(Into::into);
        Self::Sources(Arc::new(sources.filter(|source| !source.is_empty()).collect()))
    }

    /// Whether rows of this source are in it.
    #[must_use]
    pub fn shows(&self, source_id: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Sources(sources) => !source_id.is_empty() && sources.contains(source_id),
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Sources(sources) if sources.is_empty())
    }

    /// How many sources it names.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Everything => 0,
            Self::Sources(sources) => sources.len(),
        }
    }

    /// Whether both are one and the same list, or everything.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, Self::Everything) => true,
            (Self::Sources(mine), Self::Sources(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => false,
        }
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) => true,
            (Self::Sources(_), Self::Everything) => false,
            (Self::Sources(mine), Self::Sources(theirs)) => Arc::ptr_eq(mine, theirs) || theirs.is_subset(mine),
        }
    }
}

/// Why a caller's rights ended while it was being served. The texts are for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The token's time is over.
    #[error("the token has expired")]
    Expired,
    /// The token, its user or its client was revoked, or the key that signed it was withdrawn.
    #[error("the token was revoked")]
    Revoked,
    /// The token is good, and no longer allows all that is being read.
    #[error("the right to read was withdrawn")]
    Withdrawn,
}

/// Somebody whose token was accepted. Clones are the same caller.
#[derive(Clone)]
pub struct Caller {
    who: Arc<Who>,
}

#[derive(Debug)]
struct Who {
    id: String,
    name: String,
    scope: Scope,
    firehose: bool,
    /// What the rights rest on; `None` if they have no end.
    lease: Option<Lease>,
}

impl Caller {
    /// A caller known as `name`, whose rights have no end.
    #[must_use]
    pub fn new(name: impl Into<String>, scope: Scope) -> Self {
        let name = name.into();
        let firehose = scope == Scope::Everything;
        Self {
            who: Arc::new(Who {
                id: name.clone(),
                name,
                scope,
                firehose,
                lease: None,
            }),
        }
    }

    /// A caller whose rights end with its token.
    pub(crate) fn leased(lease: Lease) -> Self {
        let claims = lease.claims();
        Self {
            who: Arc::new(Who {
                id: claims.subject(),
                name: claims.display_name().to_owned(),
                scope: lease.scope().clone(),
                firehose: claims.has_scope("doppler.firehose"),
                lease: Some(lease),
            }),
        }
    }

    /// What its rights rest on, if they have an end.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.who.lease.as_ref()
    }

    /// Who it is, the same for all tokens of one user or client: `user:<id>` or `client:<id>`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.who.id
    }

    /// The name for logs: a user, a client, never a token.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.who.name
    }

    /// The whole of what it may see: the row filter of every query.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.who.scope
    }

    /// Whether it may see rows of this source.
    #[must_use]
    pub fn may_read(&self, source_id: &str) -> bool {
        self.who.scope.shows(source_id)
    }

    /// Whether it may open the v1 firehose: not everybody who may read everything may.
    #[must_use]
    pub fn may_open_firehose(&self) -> bool {
        self.who.firehose
    }

    /// Whether its token has exactly this scope. A caller without a token who may see everything, as the operator of a
    /// stack, has every scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        match &self.who.lease {
            Some(lease) => lease.claims().has_scope(scope),
            None => self.who.scope == Scope::Everything,
        }
    }

    /// When its token ends, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.who.lease.as_ref().map(|lease| lease.claims().expires_at)
    }

    /// Whether its rights still stand, as far as is known here.
    ///
    /// # Errors
    /// Why not.
    pub fn standing(&self) -> Result<(), Ended> {
        self.who.lease.as_ref().map_or(Ok(()), Lease::standing)
    }

    /// Waits until its rights end: the token expires, is revoked (seen within seconds of UAA telling), or no longer
    /// allows what it did. Cancel safe. Never returns for a caller whose rights have no end.
    pub async fn ended(&self) -> Ended {
        match &self.who.lease {
            Some(lease) => lease.ended().await,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Caller");
        debug.field("id", &self.who.id).field("name", &self.who.name);
        match &self.who.scope {
            Scope::Everything => debug.field("scope", &"everything"),
            Scope::Sources(sources) => debug.field("sources", &sources.len()),
        };
        debug.finish_non_exhaustive()
    }
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        self.who.id == other.who.id && self.who.scope == other.who.scope
    }
}

impl Eq for Caller {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller sees what its scope names and nothing else.
    #[test]
    fn scope_decides() {
        let all = Caller::new("admin", Scope::Everything);
        assert!(all.may_read("anything") && all.may_open_firehose());
        let one = Caller::new("dev", Scope::sources(["app"]));
        assert!(one.may_read("app") && !one.may_read("ap") && !one.may_read(""));
        assert!(!one.may_open_firehose());
        assert!(all.has_scope("routing.routes.read") && !one.has_scope("app"));
    }

    /// The empty name, which selects every source, is in no scope but everything.
    #[test]
    fn the_empty_source_is_nobodys() {
        let none = Scope::sources([""]);
        assert!(none.is_empty() && !none.shows(""));
        assert!(Scope::Everything.shows(""));
    }

    /// A scope covers its parts.
    #[test]
    fn scopes_cover() {
        let (ab, a) = (Scope::sources(["a", "b"]), Scope::sources(["a"]));
        assert!(ab.covers(&a) && ab.covers(&ab) && !a.covers(&ab));
        assert!(Scope::Everything.covers(&ab) && !ab.covers(&Scope::Everything));
    }

    /// Rights without an end do not end.
    #[tokio::test]
    async fn some_rights_have_no_end() {
        let caller = Caller::new("admin", Scope::Everything);
        assert_eq!(caller.standing(), Ok(()));
        assert_eq!(caller.expires_at(), None);
        assert!(futures::FutureExt::now_or_never(caller.ended()).is_none());
    }
}
