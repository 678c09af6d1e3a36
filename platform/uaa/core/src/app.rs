//! The state that all requests of a UAA share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use weir_db::DbError;
use weir_platform_uaa_store::secrets::MasterKey;
use weir_platform_uaa_store::{Membership, Store, User};
use weir_service::{Clock, Shutdown};

use crate::Config;
use crate::admission::PerCaller;
use crate::external::Providers;
use crate::hashing::Hasher;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::revoked::Revoked;
use crate::secret_cache::SecretCache;

/// The state that all requests of a UAA share. Clones share it.
#[derive(Debug, Clone)]
pub struct App(Arc<Inner>);

/// The parts of an [`App`].
#[derive(Debug)]
pub struct Inner {
    /// The configuration.
    pub config: Config,
    /// The issuer of tokens (`iss`).
    pub issuer: String,
    /// Whether clients know this UAA by a name that is its own alone ([`Config::has_own_name`]).
    pub has_own_name: bool,
    /// The database.
    pub store: Store,
    /// The keys that sign tokens.
    pub keys: Keys,
    /// The revoked tokens.
    pub revoked: Revoked,
    /// The threads that hash passwords and secrets.
    pub hasher: Hasher,
    /// The key that signs and seals data which only this UAA reads, such as CSRF tokens and consent forms.
    pub master: MasterKey,
    /// The client secrets that were verified a short time ago.
    pub secrets: SecretCache,
    /// The limits of attempts under way, by user name or client.
    pub callers: PerCaller,
    /// The external providers.
    pub providers: Providers,
    /// The counters.
    pub metrics: Metrics,
    /// The clock by which tokens and sessions end.
    pub clock: Clock,
    /// The request to stop the component.
    pub shutdown: Shutdown,
    /// The permits of requests that wait for new revocations.
    pub waiting: Semaphore,
    /// The ids of the groups that every user is in, by name.
    pub default_groups: BTreeMap<String, String>,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Returns the shared state made of these parts.
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Returns the time in seconds since 1970, the unit of tokens.
    pub fn now(&self) -> i64 {
        self.clock.now_nanos() / 1_000_000_000
    }

    /// Returns the groups that a user is in: the default groups, those with the user as a member, and the groups that contain
    /// one of these.
    pub async fn memberships(&self, user: &User) -> Result<BTreeSet<Membership>, DbError> {
        let mut groups = self.store.memberships(&user.id).await?;
        // Default groups have no rows for their members: a row for each user would have to be written for each new group.
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

    /// Returns the scopes that the groups of a user give: their names.
    pub async fn scopes_of(&self, user: &User) -> Result<BTreeSet<String>, DbError> {
        let groups = self.memberships(user).await?;
        Ok(groups.into_iter().map(|group| group.display_name).collect())
    }
}
