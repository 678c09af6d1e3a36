//! Checks UAA's tokens here: no call for a token whose key is known.
//!
//! What was found good is remembered by the token's SHA-256 until something changes that could make it bad (keys,
//! revocations, what users may read); its expiry is looked at each time. Failures are not remembered: they are cheap to
//! find again, and nobody can fill a cache with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use weir_jose::Flaw;
use weir_service::{Clock, Shutdown, Tasks};

use crate::access::Access;
use crate::issuer::Issuer;
use crate::jwt::Shown;
use crate::lease::Lease;
use crate::rights::is_asked_for;
use crate::rules::Rules;
use crate::{Authorizer, Caller, Denied, UaaConfig, Verdict, bearer};

mod cache;
mod refresh;
mod state;

use cache::Cache;
pub(crate) use state::State;

/// How many verified tokens are remembered. Each takes about a kilobyte, beside what it may read.
const CACHE: usize = 10_000;

/// How many sources their callers may name in all. Each takes about a hundred bytes, once for all tokens of one bearer.
const CACHED_SOURCES: usize = 500_000;

/// How long a request may wait for a key that is not known.
const KEY_DEADLINE: Duration = Duration::from_secs(10);

/// How long a request may wait for the revocations that were there before the start.
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

/// What a verifier has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifierStats {
    /// Tokens that were remembered.
    pub hits: u64,
    /// Tokens whose signature was checked and found good.
    pub verified: u64,
    /// Tokens that were refused.
    pub refused: u64,
    /// How long the last fetch from the issuer took.
    pub fetch: Duration,
    /// Fetches of keys that have ended, with or without keys.
    pub fetches: u64,
    /// Keys that are known.
    pub keys: usize,
    /// Revocations that are known.
    pub revocations: usize,
}

impl Verifier {
    /// A verifier that asks `issuer` for its keys and revocations, on two tasks, until `shutdown`.
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
            cache: Mutex::new(Cache::new(CACHE, CACHED_SOURCES)),
            hits: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Who the bearer is, and what it may read.
    ///
    /// # Errors
    /// Why the token does not count, or that this cannot be said now.
    pub async fn check(&self, token: Option<&str>) -> Result<Caller, Denied> {
        let token = token.and_then(bearer).ok_or(Denied::Missing)?;
        let digest = digest(&SHA256, token.as_bytes());
        let epoch = self.state.epoch();
        let known = self.cache.lock().get(digest.as_ref(), epoch);
        if let Some(caller) = known {
            if caller.expires_at().is_some_and(|end| self.state.is_over(end)) {
                return self.refuse(Flaw::Expired);
            }
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(self.with_rights_of_now(caller, digest.as_ref(), epoch).await);
        }
        let (caller, epoch) = self.verify(token).await?;
        self.verified.fetch_add(1, Ordering::Relaxed);
        self.cache.lock().insert(digest.as_ref(), epoch, caller.clone());
        Ok(caller)
    }

    /// A caller that is remembered, with what it may read now: the token does not say.
    async fn with_rights_of_now(&self, caller: Caller, digest: &[u8], epoch: u64) -> Caller {
        let Some(lease) = caller.lease().filter(|lease| is_asked_for(lease.claims())) else {
            return caller;
        };
        let scope = match self.state.access().scope(lease.claims()).await {
            Ok(scope) if !scope.is(lease.scope()) => scope,
            // Nothing else, or nobody can say: what was said of this very token stands.
            _ => return caller,
        };
        let caller = Caller::leased(lease.with_scope(scope));
        self.cache.lock().insert(digest, epoch, caller.clone());
        caller
    }

    /// What was done so far.
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

    /// Verifies a token; returns in which epoch it was found good.
    async fn verify(&self, token: &str) -> Result<(Caller, u64), Denied> {
        let Shown { jwt, key_id } = match Shown::parse(token) {
            Ok(shown) => shown,
            Err(flaw) => return self.refuse(flaw),
        };
        self.fetch_key(&key_id).await?;
        self.wait_for_revocations().await?;
        // In this order: what changes after the epoch was read makes this verdict be forgotten.
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

    /// Asks the issuer for a key that is not known, and waits for the answer; which may be that there is none.
    async fn fetch_key(&self, id: &str) -> Result<(), Denied> {
        if self.state.key(id).is_some() {
            return Ok(());
        }
        let answered = tokio::time::timeout(KEY_DEADLINE, self.state.ask_for_keys()).await;
        if answered == Ok(true) || self.state.key(id).is_some() {
            return Ok(());
        }
        tracing::debug!("a token's key is not known, and the issuer cannot be asked");
        Err(Denied::Unavailable)
    }

    /// Waits until it is known what was revoked before we started: a token might be good only because nobody told us.
    async fn wait_for_revocations(&self) -> Result<(), Denied> {
        let known = tokio::time::timeout(FEED_DEADLINE, self.state.revocations_known()).await;
        if known == Ok(true) {
            return Ok(());
        }
        tracing::debug!("what was revoked could not be read yet");
        Err(Denied::Unavailable)
    }

    fn refuse<T>(&self, flaw: Flaw) -> Result<T, Denied> {
        self.refused.fetch_add(1, Ordering::Relaxed);
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
