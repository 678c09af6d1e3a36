//! The rules for a valid token: its signature is checked first, then its claims.

use weir_jose::{Flaw, Jwt, Key};

use crate::UaaConfig;
use crate::claims::{Claims, Payload, meets};

/// The claims that tokens must have, and how far their issuer's clock may differ from this machine's.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    issuer: String,
    audiences: Vec<String>,
    /// How far clocks may differ, in seconds.
    leeway: i64,
}

impl Rules {
    pub(crate) fn of(config: &UaaConfig) -> Self {
        Self {
            issuer: config.issuer.clone(),
            audiences: config.audiences.clone(),
            leeway: i64::try_from(config.leeway.as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// The second from which a time `end` has passed on every clock within the leeway.
    pub(crate) const fn end_with_leeway(&self, end: i64) -> i64 {
        end.saturating_add(self.leeway)
    }

    /// Whether `start` is in the future at the second `now`, on every clock within the leeway.
    const fn is_ahead(&self, start: i64, now: i64) -> bool {
        start > now.saturating_add(self.leeway)
    }

    /// Checks the signature of a token with `key`, and its claims at the second `now`. Revocations are not checked
    /// here.
    pub(crate) fn open(&self, jwt: &Jwt<'_>, key: &Key, now: i64) -> Result<Claims, Flaw> {
        key.verify(jwt)?;
        self.accept(jwt.claims()?, now)
    }

    fn accept(&self, payload: Payload, now: i64) -> Result<Claims, Flaw> {
        if payload.iss != self.issuer {
            return Err(Flaw::Issuer);
        }
        if payload.is_refresh_token() {
            return Err(Flaw::RefreshToken);
        }
        if !meets(&payload.aud, &self.audiences) {
            return Err(Flaw::Audience);
        }
        if now >= self.end_with_leeway(payload.exp) {
            return Err(Flaw::Expired);
        }
        let not_yet = |time: Option<i64>| time.is_some_and(|time| self.is_ahead(time, now));
        if not_yet(payload.nbf) || not_yet(payload.iat) {
            return Err(Flaw::NotYetValid);
        }
        payload.into_claims().ok_or(Flaw::Claims)
    }
}
