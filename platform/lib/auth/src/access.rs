//! May this user read this app?
//!
//! One interface, so that whoever knows the answer can change: today UAA, which is asked for the groups of a token's bearer
//! ([`ByRights`](crate::rights::ByRights)), later the cloud controller's roles. A token names sources itself where its
//! bearer asked for a token of these alone; and those of an original UAA do ([`ByGroups`]).

use std::fmt::Debug;
use std::pin::Pin;

use tokio::sync::watch;

use crate::claims::Claims;
use crate::{Denied, Scope};

/// The scopes that read everything.
pub const ADMIN_SCOPES: [&str; 2] = ["doppler.firehose", "logs.admin"];

/// What the scope that allows one source begins with; the source id follows.
pub const SOURCE_SCOPE: &str = "logs.read.";

/// The scope that allows reading one source.
#[must_use]
pub fn source_scope(source_id: &str) -> String {
    format!("{SOURCE_SCOPE}{source_id}")
}

/// The answer, when it is there.
pub type ScopeFuture<'a> = Pin<Box<dyn Future<Output = Result<Scope, Denied>> + Send + 'a>>;

/// Knows what the bearer of a token may read.
pub trait Access: Debug + Send + Sync {
    /// Everything that the bearer of these claims may read now; [`Denied::Unavailable`] if nobody can say. Asked for each
    /// request of a token whose rights are not in it: answers are kept behind this.
    fn scope<'a>(&'a self, claims: &'a Claims) -> ScopeFuture<'a>;

    /// Moves when an answer may have changed. Callers that are being served are then looked at again.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Whether a token has an admin scope ([`ADMIN_SCOPES`]).
pub(crate) fn reads_everything(claims: &Claims) -> bool {
    ADMIN_SCOPES.iter().any(|admin| claims.has_scope(admin))
}

/// What a token's scopes allow: `logs.read.<source id>` a source, an admin scope ([`ADMIN_SCOPES`]) everything.
#[must_use]
pub fn granted(claims: &Claims) -> Scope {
    if reads_everything(claims) {
        return Scope::Everything;
    }
    Scope::sources(claims.scopes().filter_map(|scope| scope.strip_prefix(SOURCE_SCOPE)))
}

/// Answers by the token's scopes ([`granted`]), which are the user's groups. Only a new token changes the answer.
#[derive(Debug)]
pub struct ByGroups {
    never: watch::Sender<u64>,
}

impl ByGroups {
    /// There is nothing to set.
    #[must_use]
    pub fn new() -> Self {
        Self {
            never: watch::Sender::new(0),
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
        self.never.subscribe()
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

    /// Groups name sources exactly; only whole admin scopes open everything.
    #[test]
    fn groups_decide() {
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
