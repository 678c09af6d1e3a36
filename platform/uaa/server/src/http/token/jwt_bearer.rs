//! The JWT-bearer grant (RFC 7523): exchanges a signed token, the assertion, for a token of this UAA.
//!
//! The assertion is an access token of this UAA with the scope `uaa.user`, whose audience is the client, or an id token of an
//! external provider. Both are verified as in other requests.
//!
//! The tokens for an access token have no other scopes and no later end than it, however often they are exchanged and refreshed.
//! An id token proves a login, so its refresh token is valid as long as a browser session.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_jose::{Flaw, Jwt};
use weir_platform_uaa_core::issue::{LONGEST_TOKEN, seconds};

use super::{JWT_BEARER, Login, Request};
use crate::http::bearer;
use crate::http::error::ApiError;
use crate::http::invalid_grant::InvalidGrant;

/// The claim that is read before the signature is verified, because it tells whose key to use.
#[derive(Debug, serde::Deserialize)]
struct Issuer {
    iss: String,
}

impl Request<'_> {
    pub(super) async fn jwt_bearer(&self) -> Result<Value, ApiError> {
        let assertion = self.form.required("assertion")?;
        let issuer = Jwt::parse(assertion, LONGEST_TOKEN)
            .and_then(|parsed| parsed.claims::<Issuer>())
            .map_err(InvalidGrant::Assertion)?
            .iss;
        let login = if issuer == self.app.issuer {
            self.own_assertion(assertion).await?
        } else {
            self.provider_assertion(assertion, &issuer).await?
        };
        self.user_tokens(&login).await
    }

    /// Verifies an access token of this UAA. Its audience must contain the client.
    async fn own_assertion(&self, assertion: &str) -> Result<Login<'static>, ApiError> {
        let (claims, _) = bearer::verify(self.app, assertion)
            .await
            .map_err(InvalidGrant::Assertion)?;
        if !claims.aud.contains(&self.client().id) {
            return Err(InvalidGrant::Assertion(Flaw::Audience).into());
        }
        if !claims.scope.iter().any(|scope| scope == "uaa.user") {
            return Err(InvalidGrant::AssertionScope.into());
        }
        let id = claims.user_id.ok_or(InvalidGrant::AssertionWithoutUser)?;
        let user = self.app.store.user(&id).await?.filter(|user| user.active);
        let mut user = user.ok_or(InvalidGrant::AssertionUserGone)?;
        // A revocation after the assertion was verified must count when the token is issued.
        user.as_of = user.as_of.min(claims.as_of);
        Ok(Login {
            user,
            grant_type: JWT_BEARER,
            auth_time: claims.auth_time.unwrap_or(claims.iat),
            scopes: Some(claims.scope.into_iter().collect::<BTreeSet<_>>()),
            access_until: Some(claims.exp),
            refresh_until: Some(claims.exp),
        })
    }

    /// Verifies an id token of an external provider.
    async fn provider_assertion(&self, assertion: &str, issuer: &str) -> Result<Login<'static>, ApiError> {
        let provider = self
            .app
            .providers
            .by_issuer(issuer)
            .ok_or(InvalidGrant::Assertion(Flaw::Issuer))?;
        let now = self.app.now();
        let identity = provider
            .verify_assertion(assertion, &self.app.issuer, now)
            .await
            .map_err(|error| {
                weir_service::limited!(
                    info,
                    weir_service::EACH_SECOND,
                    provider = provider.name(),
                    %error,
                    "an assertion was refused"
                );
                InvalidGrant::AssertionNotConfirmed
            })?;
        let user = self.app.user_of(provider, &identity).await?;
        Ok(Login {
            user,
            grant_type: JWT_BEARER,
            auth_time: identity.logged_in_at(now),
            scopes: None,
            access_until: None,
            refresh_until: Some(now.saturating_add(seconds(self.app.config.session_longest))),
        })
    }
}
