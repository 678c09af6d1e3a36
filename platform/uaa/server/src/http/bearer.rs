//! Who calls with a token of ours.

use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use weir_jose::{Flaw, Jwt};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::issue::LONGEST_TOKEN;
use weir_platform_uaa_core::revoked::Subject;

use crate::http::error::ApiError;

/// What we read of our own access tokens.
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
    /// The number of the last revocation that the token was held against.
    #[serde(skip)]
    pub(crate) as_of: i64,
}

/// Somebody with a token.
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

    /// One of these scopes, or `uaa.admin`.
    pub(crate) fn require(&self, scopes: &[&str]) -> Result<(), ApiError> {
        if self.has("uaa.admin") || self.has_any(scopes) {
            Ok(())
        } else {
            Err(ApiError::insufficient_scope(scopes))
        }
    }

    /// Whether it is this user's own token.
    pub(crate) fn is_user(&self, id: &str) -> bool {
        self.claims.user_id.as_deref() == Some(id)
    }

    /// For logs.
    pub(crate) fn name(&self) -> &str {
        self.claims.user_id.as_deref().unwrap_or(&self.claims.client_id)
    }
}

/// The text of the token, if there is one. The scheme may be in any case.
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

/// Who calls.
pub(crate) async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let token = token(headers)?.ok_or_else(ApiError::no_token)?;
    let (claims, _) = verify(app, token).await?;
    Ok(Caller { claims })
}

/// Who calls, with one of these scopes or `uaa.admin`.
pub(crate) async fn caller_with(app: &App, headers: &HeaderMap, scopes: &[&str]) -> Result<Caller, ApiError> {
    let caller = caller(app, headers).await?;
    caller.require(scopes)?;
    Ok(caller)
}

/// Checks an access token of ours: signature, issuer, time, revocation. Its claims as we read and as we wrote them.
pub(crate) async fn verify(app: &App, token: &str) -> Result<(Claims, Map<String, Value>), Flaw> {
    let parsed = Jwt::parse(token, LONGEST_TOKEN)?;
    app.keys.verify(&parsed).await?;
    let mut claims: Claims = parsed.claims()?;
    claims.as_of = app.revoked.number();
    if claims.iss != app.issuer {
        return Err(Flaw::Issuer);
    }
    // A refresh token is signed with the same key, and opens nothing; an id token has no client.
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
