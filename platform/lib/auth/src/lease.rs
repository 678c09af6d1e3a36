//! What a caller's rights rest on while it is being served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_jose::Key;

use crate::claims::Claims;
use crate::verifier::State;
use crate::{Ended, Scope};

/// How often the wall clock is looked at: somebody may have set it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A verified token, and where the news about it come from.
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

    /// The rights of the same token, by another answer to what it allows.
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

    /// Whether the token is still good; what it allows may have changed.
    pub(crate) fn standing(&self) -> Result<(), Ended> {
        if self.state.is_over(self.claims.expires_at) {
            return Err(Ended::Expired);
        }
        if self.state.is_revoked(&self.claims) || !self.state.has_key(&self.key_id, &self.key) {
            return Err(Ended::Revoked);
        }
        Ok(())
    }

    pub(crate) async fn ended(&self) -> Ended {
        let mut changes = self.state.changes();
        loop {
            changes.borrow_and_update();
            if let Err(ended) = self.reassess().await {
                return ended;
            }
            let left = self.state.left_until(self.claims.expires_at).min(LOOK_AGAIN);
            tokio::select! {
                // The sender lives in the state, which we hold.
                _ = changes.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    async fn reassess(&self) -> Result<(), Ended> {
        self.standing()?;
        // Who cannot say does not take anything away: the token's end bounds how long that may last.
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
