//! The interface that answers which sources a user may read.
//!
//! It is an interface because the system that knows the answer can change. Today UAA is asked for the groups of a
//! token's bearer ([`ByRights`](crate::rights::ByRights)); later it may be the roles of the cloud controller. Some
//! tokens name the sources themselves: those whose bearer asked for a token of certain sources, and those of an
//! original UAA ([`ByGroups`]).

use std::fmt::Debug;
use std::pin::Pin;

use tokio::sync::watch;

use crate::claims::Claims;
use crate::{Denied, Scope};

/// The scopes of a token that allow reading everything.
pub const ADMIN_SCOPES: [&str; 2] = ["doppler.firehose", "logs.admin"];

/// The prefix of a scope that allows reading one source. The source id follows it.
pub const SOURCE_SCOPE: &str = "logs.read.";

/// The scope that allows reading one source.
#[must_use]
pub fn source_scope(source_id: &str) -> String {
    format!("{SOURCE_SCOPE}{source_id}")
}

/// The answer of an [`Access`].
pub type ScopeFuture<'a> = Pin<Box<dyn Future<Output = Result<Scope, Denied>> + Send + 'a>>;

/// Answers what the bearer of a token may read.
pub trait Access: Debug + Send + Sync {
    /// Everything that the bearer of these claims may read now, or [`Denied::Unavailable`] if that is not known. It is
    /// asked for each request of a token that does not contain its rights, so an implementation keeps its answers.
    fn scope<'a>(&'a self, claims: &'a Claims) -> ScopeFuture<'a>;

    /// A number that changes when an answer may have changed. The rights of callers that are being served are then
    /// checked again.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Whether a token has an admin scope ([`ADMIN_SCOPES`]).
pub(crate) fn reads_everything(claims: &Claims) -> bool {
    ADMIN_SCOPES.iter().any(|admin| claims.has_scope(admin))
}

/// What the scopes of a token allow: `logs.read.<source id>` allows one source, an admin scope ([`ADMIN_SCOPES`])
/// everything.
#[must_use]
pub fn granted(claims: &Claims) -> Scope {
    if reads_everything(claims) {
        return Scope::Everything;
    }
    Scope::sources(claims.scopes().filter_map(|scope| scope.strip_prefix(SOURCE_SCOPE)))
}

/// Answers by the scopes of the token ([`granted`]), which are the user's groups. Only a new token changes the answer.
#[derive(Debug)]
pub struct ByGroups {
    /// Never changes.
    changes: watch::Sender<u64>,
}

impl ByGroups {
    /// An access that needs no settings.
    #[must_use]
    pub fn new() -> Self {
        Self {
            changes: watch::Sender::new(0),
        }
    }
}

impl Default for ByGroups {
    fn default() -> Self {
        Self::new()
    }
}

impl Access for ByGroups {
    fn scope<'a>(&'a self, claims: &'a Claims) -> ScopeFuture<'a> {
        let scope = granted(claims);
        Box::pin(async { Ok(scope) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn scope(scopes: &[&str]) -> Scope {
        let claims = Claims::with_scopes(scopes.iter().copied());
        let groups = ByGroups::new();
        groups.scope(&claims).now_or_never().unwrap().unwrap()
    }

    /// A scope allows exactly the source that it names, and only a complete admin scope allows everything.
    #[test]
    fn scopes_allow_sources() {
        assert_eq!(
            scope(&["openid", "logs.read.a/b.c", "logs.read.app"]),
            Scope::sources(["a/b.c", "app"])
        );
        assert_eq!(scope(&["logs.admin"]), Scope::Everything);
        assert_eq!(scope(&["logs.read.x", "doppler.firehose"]), Scope::Everything);
        for nothing in [
            "logs.read.",
            "logs.read",
            "logs.Admin",
            "logs.admin.x",
            "doppler.firehose ",
            "*",
            "",
        ] {
            assert!(scope(&[nothing]).is_empty(), "{nothing}");
        }
        assert_eq!(source_scope("app"), "logs.read.app");
    }
}
