//! What all requests share.

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

/// What all requests share. Clones are of the same UAA.
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
    /// The keys that sign.
    pub keys: Keys,
    /// The revocations.
    pub revoked: Revoked,
    /// The threads that hash.
    pub hasher: Hasher,
    /// Signs and seals what only we read: CSRF tokens, consent forms.
    pub master: MasterKey,
    /// The client secrets that were right a moment ago.
    pub secrets: SecretCache,
    /// Attempts under way, by user name or client.
    pub callers: PerCaller,
    /// The external providers.
    pub providers: Providers,
    /// The counters.
    pub metrics: Metrics,
    /// The clock by which tokens and sessions end.
    pub clock: Clock,
    /// Whether the component is to stop.
    pub shutdown: Shutdown,
    /// Places for those who wait for revocations.
    pub waiting: Semaphore,
    /// The groups that every user is in, by name.
    pub default_groups: BTreeMap<String, String>,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Returns what all requests share, of these parts.
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Seconds since 1970, the unit of tokens.
    pub fn now(&self) -> i64 {
        self.clock.now_nanos() / 1_000_000_000
    }

    /// The groups that a user is in: those that everybody is in, their own, and those that these are in.
    pub async fn memberships(&self, user: &User) -> Result<BTreeSet<Membership>, DbError> {
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
    pub async fn scopes_of(&self, user: &User) -> Result<BTreeSet<String>, DbError> {
        let groups = self.memberships(user).await?;
        Ok(groups.into_iter().map(|group| group.display_name).collect())
    }
}
