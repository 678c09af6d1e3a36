//! What a token must be and say, whoever checks it: the signature first, then what it claims.

use weir_jose::{Flaw, Jwt, Key};

use crate::UaaConfig;
use crate::claims::{Claims, Payload, meets};

/// What tokens must say about themselves, and how far their issuer's clock may be from ours.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    issuer: String,
    audiences: Vec<String>,
    /// In seconds.
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

    /// The first second in which what ends at `end` is over.
    pub(crate) const fn over_at(&self, end: i64) -> i64 {
        end.saturating_add(self.leeway)
    }

    /// Whether `start` is yet to come, at the second `now`.
    const fn is_ahead(&self, start: i64, now: i64) -> bool {
        start > now.saturating_add(self.leeway)
    }

    /// The claims of a token that `key` signed and that is good at the second `now`, as far as the token itself can say:
    /// whether it was revoked is another question.
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
        if now >= self.over_at(payload.exp) {
            return Err(Flaw::Expired);
        }
        let not_yet = |time: Option<i64>| time.is_some_and(|time| self.is_ahead(time, now));
        if not_yet(payload.nbf) || not_yet(payload.iat) {
            return Err(Flaw::NotYetValid);
        }
        payload.into_claims().ok_or(Flaw::Claims)
    }
}
