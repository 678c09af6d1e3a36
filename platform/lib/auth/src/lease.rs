//! A lease: the verified token on which a caller's rights rest while it is being served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_jose::Key;

use crate::claims::Claims;
use crate::verifier::State;
use crate::{Ended, Scope};

/// How often the wall clock is read while waiting for the expiry of a token, because it may have been set.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// A verified token with its rights, and the state that tells when they end.
pub(crate) struct Lease {
    claims: Claims,
    scope: Scope,
    key_id: String,
    key: Arc<Key>,
    state: Arc<State>,
}

impl Lease {
    pub(crate) const fn new(claims: Claims, scope: Scope, key_id: String, key: Arc<Key>, state: Arc<State>) -> Self {
        Self {
            claims,
            scope,
            key_id,
            key,
            state,
        }
    }

    /// A lease of this token with other rights.
    pub(crate) fn with_scope(&self, scope: Scope) -> Self {
        Self {
            claims: self.claims.clone(),
            scope,
            key_id: self.key_id.clone(),
            key: Arc::clone(&self.key),
            state: Arc::clone(&self.state),
        }
    }

    pub(crate) const fn claims(&self) -> &Claims {
        &self.claims
    }

    pub(crate) const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Checks that the token is still valid. Its rights may have changed nevertheless.
    pub(crate) fn standing(&self) -> Result<(), Ended> {
        if self.state.has_passed(self.claims.expires_at) {
            return Err(Ended::Expired);
        }
        if self.state.is_revoked(&self.claims) || !self.state.has_key(&self.key_id, &self.key) {
            return Err(Ended::Revoked);
        }
        Ok(())
    }

    /// Waits until the rights end; see [`Caller::ended`](crate::Caller::ended).
    pub(crate) async fn ended(&self) -> Ended {
        let mut changes = self.state.changes();
        loop {
            // The change is marked as seen before the check, so that one that happens during the check leads to another
            // check.
            changes.borrow_and_update();
            if let Err(ended) = self.reassess().await {
                return ended;
            }
            let left = self.state.left_until(self.claims.expires_at).min(CLOCK_CHECK_INTERVAL);
            tokio::select! {
                // This cannot fail: the sender is in the state, which this lease keeps alive.
                _ = changes.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Checks the token and its rights.
    async fn reassess(&self) -> Result<(), Ended> {
        self.standing()?;
        // Where the rights cannot be asked for, those that were known stay. The expiry of the token bounds how long.
        match self.state.access().scope(&self.claims).await {
            Ok(scope) if !scope.covers(&self.scope) => Err(Ended::Withdrawn),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lease")
            .field("subject", &self.claims.subject())
            .field("expires_at", &self.claims.expires_at)
            .finish_non_exhaustive()
    }
}
