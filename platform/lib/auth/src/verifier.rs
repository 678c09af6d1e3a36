//! Checks UAA's tokens, without a call to UAA for a token whose key is known.
//!
//! A valid token is remembered by its SHA-256 until a change could make it invalid (of keys, revocations, or rights).
//! Its expiry is checked each time. Refusals are not remembered: they are cheap to find again, and an attacker could
//! fill a cache with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use weir_jose::Flaw;
use weir_service::{Clock, Shutdown, Tasks};

use crate::access::Access;
use crate::issuer::Issuer;
use crate::jwt::ParsedToken;
use crate::lease::Lease;
use crate::rights::needs_rights;
use crate::rules::Rules;
use crate::{Authorizer, Caller, Denied, UaaConfig, Verdict, bearer};

mod cache;
mod refresh;
mod state;

use cache::Cache;
pub(crate) use state::State;

/// The number of verified tokens that are remembered. Each takes about a kilobyte, and the names of its sources in
/// addition.
const CACHED_TOKENS: usize = 10_000;

/// The number of sources that the remembered callers may name in all. Each takes about a hundred bytes, once for all
/// tokens of one bearer.
const CACHED_SOURCES: usize = 500_000;

/// How long a request waits for an unknown key to be fetched.
const KEY_DEADLINE: Duration = Duration::from_secs(10);

/// How long a request waits until the revocations from before the start are read.
const FEED_DEADLINE: Duration = Duration::from_secs(10);

/// An [`Authorizer`] for the tokens of one issuer.
#[derive(Debug)]
pub struct Verifier {
    state: Arc<State>,
    cache: Mutex<Cache>,
    hits: AtomicU64,
    verified: AtomicU64,
    refused: AtomicU64,
}

/// The statistics of a verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifierStats {
    /// The number of tokens that were found in the cache.
    pub hits: u64,
    /// The number of tokens whose signature was checked and that were valid.
    pub verified: u64,
    /// The number of tokens that were refused.
    pub refused: u64,
    /// How long the last fetch of keys from the issuer took.
    pub fetch: Duration,
    /// The number of fetches of keys that have ended, with or without keys.
    pub fetches: u64,
    /// The number of known keys.
    pub keys: usize,
    /// The number of known revocations.
    pub revocations: usize,
}

impl Verifier {
    /// A verifier that reads the keys and revocations of `issuer` on tasks of its own, until `shutdown` is requested.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(
        config: &UaaConfig,
        issuer: Arc<dyn Issuer>,
        access: Arc<dyn Access>,
        clock: Clock,
        shutdown: &Shutdown,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let state = State::new(access, clock, Rules::of(config));
        refresh::start(&state, &issuer, config, shutdown, tasks);
        Arc::new(Self {
            state,
            cache: Mutex::new(Cache::new(CACHED_TOKENS, CACHED_SOURCES)),
            hits: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// The bearer of the token, with what it may read.
    ///
    /// # Errors
    /// Why the token is refused, or that it cannot be checked now.
    pub async fn check(&self, token: Option<&str>) -> Result<Caller, Denied> {
        let token = token.and_then(bearer).ok_or(Denied::Missing)?;
        // The cache has hashes only, so that no token stays in memory after its request.
        let digest = digest(&SHA256, token.as_bytes());
        let epoch = self.state.epoch();
        // A statement of its own, so that the lock is not held while the rights are asked for.
        let known = self.cache.lock().get(digest.as_ref(), epoch);
        if let Some(caller) = known {
            // Expiry changes no epoch, so the cache does not know of it.
            if caller.expires_at().is_some_and(|end| self.state.has_passed(end)) {
                return self.refuse(Flaw::Expired);
            }
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(self.with_current_rights(caller, digest.as_ref(), epoch).await);
        }
        let (caller, epoch) = self.verify(token).await?;
        self.verified.fetch_add(1, Ordering::Relaxed);
        self.cache.lock().insert(digest.as_ref(), epoch, caller.clone());
        Ok(caller)
    }

    /// A remembered caller with its current rights, if its token does not contain them.
    async fn with_current_rights(&self, caller: Caller, digest: &[u8], epoch: u64) -> Caller {
        let Some(lease) = caller.lease().filter(|lease| needs_rights(lease.claims())) else {
            return caller;
        };
        let scope = match self.state.access().scope(lease.claims()).await {
            Ok(scope) if !scope.shares_list(lease.scope()) => scope,
            // The rights are unchanged, or cannot be asked for. In both cases those of the last check stay.
            _ => return caller,
        };
        let caller = Caller::leased(lease.with_scope(scope));
        self.cache.lock().insert(digest, epoch, caller.clone());
        caller
    }

    /// The statistics so far.
    #[must_use]
    pub fn stats(&self) -> VerifierStats {
        let (keys, revocations, fetch) = self.state.sizes();
        VerifierStats {
            hits: self.hits.load(Ordering::Relaxed),
            verified: self.verified.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            fetch,
            fetches: self.state.fetches(),
            keys,
            revocations,
        }
    }

    /// Verifies a token. Returns its caller, and the epoch in which the token was valid.
    async fn verify(&self, token: &str) -> Result<(Caller, u64), Denied> {
        let ParsedToken { jwt, key_id } = match ParsedToken::parse(token) {
            Ok(parsed) => parsed,
            Err(flaw) => return self.refuse(flaw),
        };
        self.fetch_key(&key_id).await?;
        self.wait_for_revocations().await?;
        // The epoch is read before keys and revocations: a change after that makes the cache forget this result.
        let epoch = self.state.epoch();
        let Some(key) = self.state.key(&key_id) else {
            return self.refuse(Flaw::UnknownKey);
        };
        let claims = match self.state.open(&jwt, &key) {
            Ok(claims) => claims,
            Err(flaw) => return self.refuse(flaw),
        };
        let scope = self.state.access().scope(&claims).await?;
        let lease = Lease::new(claims, scope, key_id, key, Arc::clone(&self.state));
        Ok((Caller::leased(lease), epoch))
    }

    /// Asks the issuer for its keys if this one is unknown, and waits for the answer. The key may still be unknown
    /// then.
    async fn fetch_key(&self, id: &str) -> Result<(), Denied> {
        if self.state.key(id).is_some() {
            return Ok(());
        }
        let answered = tokio::time::timeout(KEY_DEADLINE, self.state.ask_for_keys()).await;
        // The fetch of another request may have brought the key although this one failed or was too late.
        if answered == Ok(true) || self.state.key(id).is_some() {
            return Ok(());
        }
        tracing::debug!("a token's key is not known, and the issuer cannot be asked");
        Err(Denied::Unavailable)
    }

    /// Waits until the revocations from before the start are read. Without them, a revoked token would be accepted.
    async fn wait_for_revocations(&self) -> Result<(), Denied> {
        let known = tokio::time::timeout(FEED_DEADLINE, self.state.revocations_known()).await;
        if known == Ok(true) {
            return Ok(());
        }
        tracing::debug!("the revocations from before the start could not be read yet");
        Err(Denied::Unavailable)
    }

    /// Counts a refused token.
    fn refuse<T>(&self, flaw: Flaw) -> Result<T, Denied> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        // Any client can cause this line, so it is not logged by default.
        tracing::debug!(reason = %flaw, "token refused");
        Err(flaw.into())
    }
}

impl Authorizer for Verifier {
    fn caller<'a>(&'a self, token: Option<&'a str>) -> Verdict<'a> {
        Box::pin(self.check(token))
    }
}

#[cfg(test)]
mod tests;
