//! Callers that authenticate with an access token of this UAA.

use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use weir_jose::{Flaw, Jwt};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::issue::LONGEST_TOKEN;
use weir_platform_uaa_core::revoked::Subject;

use crate::http::error::ApiError;

/// The claims of an access token that are used.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) jti: String,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) client_id: String,
    #[serde(default)]
    pub(crate) scope: Vec<String>,
    #[serde(default)]
    pub(crate) aud: Vec<String>,
    pub(crate) user_id: Option<String>,
    #[serde(default)]
    pub(crate) auth_time: Option<i64>,
    /// The number of the last revocation when the token was verified.
    #[serde(skip)]
    pub(crate) as_of: i64,
}

/// A caller with a valid access token.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) claims: Claims,
}

impl Caller {
    pub(crate) fn has(&self, scope: &str) -> bool {
        self.claims.scope.iter().any(|known| known == scope)
    }

    pub(crate) fn has_any(&self, scopes: &[&str]) -> bool {
        scopes.iter().any(|scope| self.has(scope))
    }

    /// Refuses a caller that has neither one of these scopes nor `uaa.admin`.
    pub(crate) fn require(&self, scopes: &[&str]) -> Result<(), ApiError> {
        if self.has("uaa.admin") || self.has_any(scopes) {
            Ok(())
        } else {
            Err(ApiError::insufficient_scope(scopes))
        }
    }

    /// Whether the caller is this user.
    pub(crate) fn is_user(&self, id: &str) -> bool {
        self.claims.user_id.as_deref() == Some(id)
    }

    /// Returns the id of the user or the client, for logs.
    pub(crate) fn name(&self) -> &str {
        self.claims.user_id.as_deref().unwrap_or(&self.claims.client_id)
    }
}

/// Returns the token in the header `Authorization`, if there is one. The scheme is compared without case.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid_request("There are several Authorization headers"));
    }
    let Ok(value) = value.to_str() else { return Ok(None) };
    let bearer = value
        .split_at_checked(7)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer "))
        .map(|(_, token)| token.trim());
    Ok(bearer.filter(|token| !token.is_empty()))
}

/// Returns the caller of a request.
pub(crate) async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let token = token(headers)?.ok_or_else(ApiError::no_token)?;
    let (claims, _) = verify(app, token).await?;
    Ok(Caller { claims })
}

/// Returns the caller of a request, who must have one of these scopes or `uaa.admin`.
pub(crate) async fn caller_with(app: &App, headers: &HeaderMap, scopes: &[&str]) -> Result<Caller, ApiError> {
    let caller = caller(app, headers).await?;
    caller.require(scopes)?;
    Ok(caller)
}

/// Verifies an access token: signature, issuer, time and revocation. Returns the claims that are used, and all claims.
pub(crate) async fn verify(app: &App, token: &str) -> Result<(Claims, Map<String, Value>), Flaw> {
    let parsed = Jwt::parse(token, LONGEST_TOKEN)?;
    app.keys.verify(&parsed).await?;
    let mut claims: Claims = parsed.claims()?;
    // The number is read before the revocations are checked: a later revocation must not look as if it had been checked.
    claims.as_of = app.revoked.number();
    if claims.iss != app.issuer {
        return Err(Flaw::Issuer);
    }
    // A refresh token has the signature of the same key. An id token lacks `client_id`, and could not be read.
    if claims.jti.ends_with("-r") {
        return Err(Flaw::Claims);
    }
    if claims.exp <= app.now() {
        return Err(Flaw::Expired);
    }
    let subject = Subject {
        jti: &claims.jti,
        user_id: claims.user_id.as_deref(),
        client_id: &claims.client_id,
        issued_at: claims.iat,
    };
    if app.revoked.covers(subject) {
        return Err(Flaw::Revoked);
    }
    Ok((claims, parsed.claims()?))
}
