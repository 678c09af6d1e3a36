//! The JWT-bearer grant (RFC 7523): a token that somebody we trust has signed, for a token of ours.
//!
//! It is one of our own access tokens with the scope `uaa.user`, for the client that shows it, or an id token of an
//! external provider. Either is checked as everywhere else; an assertion cannot make a user that does not exist, other
//! than a login at that provider.

use serde_json::Value;

use super::{JWT_BEARER, Request};
use crate::http::bearer;
use crate::http::error::ApiError;
use crate::jwt::{Flaw, Parsed};
use crate::store::User;

/// What is read before anything is believed: whose keys to ask.
#[derive(Debug, serde::Deserialize)]
struct Issuer {
    iss: String,
}

impl Request<'_> {
    pub(super) async fn jwt_bearer(&self) -> Result<Value, ApiError> {
        let assertion = self.form.required("assertion")?;
        let issuer = Parsed::parse(assertion)
            .and_then(|parsed| parsed.claims::<Issuer>())
            .map_err(refused)?
            .iss;
        let (user, auth_time) = if issuer == self.app.issuer {
            self.own(assertion).await?
        } else {
            self.foreign(assertion, &issuer).await?
        };
        self.user_tokens(&user, JWT_BEARER, auth_time).await
    }

    async fn own(&self, assertion: &str) -> Result<(User, i64), ApiError> {
        let (claims, _) = bearer::verify(self.app, assertion).await.map_err(refused)?;
        let audiences = [self.client().id.as_str(), &self.app.issuer, "uaa"];
        if !claims.aud.iter().any(|known| audiences.contains(&known.as_str())) {
            return Err(refused(Flaw::Audience));
        }
        if !claims.scope.iter().any(|scope| scope == "uaa.user") {
            return Err(ApiError::invalid_grant("The assertion lacks the scope uaa.user"));
        }
        let id = claims
            .user_id
            .ok_or_else(|| ApiError::invalid_grant("The assertion names no user"))?;
        let user = self.app.store.user(&id).await?.filter(|user| user.active);
        let mut user = user.ok_or_else(|| ApiError::invalid_grant("The assertion's user is gone"))?;
        // What ended the assertion after it was checked counts.
        user.as_of = user.as_of.min(claims.as_of);
        Ok((user, claims.auth_time.unwrap_or(claims.iat)))
    }

    async fn foreign(&self, assertion: &str, issuer: &str) -> Result<(User, i64), ApiError> {
        let provider = self
            .app
            .providers
            .by_issuer(issuer)
            .ok_or_else(|| refused(Flaw::Issuer))?;
        let identity = provider
            .verify_assertion(assertion, &self.app.issuer, self.app.now())
            .await
            .map_err(|error| {
                tracing::info!(provider = provider.name(), %error, "an assertion was refused");
                ApiError::invalid_grant("The assertion is not valid")
            })?;
        let user = self.app.user_of(provider, &identity).await?;
        Ok((user, identity.auth_time.unwrap_or_else(|| self.app.now())))
    }
}

fn refused(flaw: Flaw) -> ApiError {
    ApiError::invalid_grant(flaw.text())
}
