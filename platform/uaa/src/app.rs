//! What all requests share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use weir_db::DbError;
use weir_service::{Clock, Shutdown};

use crate::Config;
use crate::admission::PerCaller;
use crate::external::Providers;
use crate::hashing::Hasher;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::revoked::Revoked;
use crate::secret_cache::SecretCache;
use crate::secrets::MasterKey;
use crate::store::{Membership, Store, User};

/// What all requests share. Clones are of the same UAA.
#[derive(Debug, Clone)]
pub(crate) struct App(Arc<Inner>);

/// The parts.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) issuer: String,
    /// See [`Config::has_own_name`].
    pub(crate) has_own_name: bool,
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) revoked: Revoked,
    pub(crate) hasher: Hasher,
    /// Signs and seals what only we read: CSRF tokens, consent forms.
    pub(crate) master: MasterKey,
    pub(crate) secrets: SecretCache,
    /// Attempts under way, by user name or client.
    pub(crate) callers: PerCaller,
    pub(crate) providers: Providers,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) shutdown: Shutdown,
    /// Places for those who wait for revocations.
    pub(crate) waiting: Semaphore,
    /// The groups that every user is in, by name.
    pub(crate) default_groups: BTreeMap<String, String>,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Seconds since 1970, the unit of tokens.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now_nanos() / 1_000_000_000
    }

    /// The groups that a user is in: those that everybody is in, their own, and those that these are in.
    pub(crate) async fn memberships(&self, user: &User) -> Result<BTreeSet<Membership>, DbError> {
        let mut groups = self.store.memberships(&user.id).await?;
        for (name, id) in &self.default_groups {
            if !groups.iter().any(|group| group.id == *id) {
                groups.insert(Membership {
                    display_name: name.clone(),
                    id: id.clone(),
                    direct: true,
                });
            }
        }
        Ok(groups)
    }

    /// The scopes that a user's groups give.
    pub(crate) async fn scopes_of(&self, user: &User) -> Result<BTreeSet<String>, DbError> {
        let groups = self.memberships(user).await?;
        Ok(groups.into_iter().map(|group| group.display_name).collect())
    }
}
