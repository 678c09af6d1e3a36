//! `POST /oauth/token`: every grant.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::issue::{Grant, new_jti};
use weir_platform_uaa_store::{Client, User, scopes, secrets};

use crate::http::client_auth::{self, Asking};
use crate::http::error::ApiError;
use crate::http::form::Form;
use crate::http::unread::Unread;

mod code;
mod jwt_bearer;
mod password;
mod refresh;

/// What RFC 7523 calls it.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// What the original acts upon and this UAA does not, but for these values, and why that is so.
const NOT_DONE: [(&str, &[&str], &str); 4] = [
    (
        "token_format",
        &["jwt"],
        "all tokens are JWTs, which can be revoked like opaque ones",
    ),
    ("client_assertion", &[], "clients show secrets"),
    ("authorities", &[], "what a token says of its user comes from groups"),
    ("mfaCode", &[], "there is no second factor"),
];

/// A request for a token, by a client that is known.
struct Request<'r> {
    app: &'r App,
    asking: Asking,
    form: &'r Form,
    /// Parameters of the query string; only `login_hint` may stand there.
    query: &'r Form,
}

/// A user who has shown who they are, and what may come of it.
struct Login<'l> {
    user: User,
    grant_type: &'l str,
    /// Seconds.
    auth_time: i64,
    /// Nothing but these; what client and user may have if absent.
    scopes: Option<BTreeSet<String>>,
    /// When the access token ends at the latest (seconds).
    access_until: Option<i64>,
    /// When the refresh token does.
    refresh_until: Option<i64>,
}

impl Login<'_> {
    /// With a name and a password: all that client and user may have.
    fn by_password(user: User, auth_time: i64) -> Self {
        Self {
            user,
            grant_type: "password",
            auth_time,
            scopes: None,
            access_until: None,
            refresh_until: None,
        }
    }
}

pub(crate) async fn token(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, ApiError> {
    let form = Form::posted(&headers, body).await?;
    let query = Form::query(query.as_deref())?;
    // What stands in a URL stands in logs.
    for name in [
        "password",
        "client_secret",
        "refresh_token",
        "code",
        "assertion",
        "passcode",
    ] {
        if query.get(name).is_some() {
            return Err(ApiError::invalid_request("Parameters must be sent in the body"));
        }
    }
    for (name, allowed, instead) in NOT_DONE {
        if form.filled(name).is_some_and(|value| !allowed.contains(&value)) {
            return Err(ApiError::invalid_request(format!("{name} is not supported: {instead}")));
        }
    }
    let grant_type = form.required("grant_type")?.to_owned();
    let asking = client_auth::client(&app, &headers, &form).await?;
    let known = [
        "password",
        "refresh_token",
        "client_credentials",
        "authorization_code",
        JWT_BEARER,
    ];
    if !known.contains(&grant_type.as_str()) {
        return Err(ApiError::bad_request(
            "unsupported_grant_type",
            format!("Unsupported grant type: {}", super::error::shown(&grant_type)),
        ));
    }
    if !asking.client.may(&grant_type) {
        // RFC 6749 would have 400 `unauthorized_client`; the original says this, and the cf CLI shows its text.
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "Unauthorized grant type",
        ));
    }
    if !asking.proved && !matches!(grant_type.as_str(), "authorization_code" | "refresh_token") {
        return Err(ApiError::invalid_client());
    }
    let request = Request {
        app: &app,
        asking,
        form: &form,
        query: &query,
    };
    let answer = match grant_type.as_str() {
        "password" => Box::pin(request.password()).await?,
        "refresh_token" => Box::pin(request.refresh()).await?,
        "client_credentials" => request.client_credentials().await?,
        "authorization_code" => Box::pin(request.code()).await?,
        _ => Box::pin(request.jwt_bearer()).await?,
    };
    Ok(uncached(answer))
}

/// A token is nothing for caches.
fn uncached(answer: Value) -> Response {
    let mut response = Json(answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

impl Request<'_> {
    fn client(&self) -> &Client {
        &self.asking.client
    }

    /// The scopes asked for; none if it is left to us.
    fn asked(&self) -> BTreeSet<String> {
        scopes::parse(self.form.filled("scope").unwrap_or_default())
    }

    async fn client_credentials(&self) -> Result<Value, ApiError> {
        let own = scopes::held_by_client(&self.client().detail.authorities);
        let asked = self.asked();
        let granted = if asked.is_empty() {
            scopes::without_sources(own)
        } else {
            within(&asked, &own)?
        };
        let grant = Grant {
            client: self.client(),
            user: None,
            scopes: granted,
            grant_type: "client_credentials",
            auth_time: self.app.now(),
            nonce: None,
            id_token: false,
            until: None,
        };
        let second = self.app.settle(&grant, None).await?;
        Ok(self.app.access(&grant, new_jti(), second).answer(None))
    }

    /// The answer for a user who is known: an access token, and a refresh token where the client may have one.
    async fn user_tokens(&self, login: &Login<'_>) -> Result<Value, ApiError> {
        self.takes(&login.user)?;
        let asked = self.asked();
        if let Some(held) = &login.scopes {
            within(&asked, held)?;
        }
        let narrow = login.scopes.as_ref();
        let granted = granted(self.app, self.client(), &login.user, &asked, narrow).await?;
        let grant = Grant {
            client: self.client(),
            user: Some(&login.user),
            scopes: granted,
            grant_type: login.grant_type,
            auth_time: login.auth_time,
            nonce: self.form.filled("nonce"),
            id_token: asked.contains("openid"),
            until: login.access_until,
        };
        let refresh = self
            .app
            .refresh_for(&grant, &secrets::random_hex::<16>(), login.refresh_until);
        let second = self.app.settle(&grant, refresh.as_ref()).await?;
        let access = self.app.access(&grant, new_jti(), second);
        Ok(access.answer(refresh.as_ref().map(|refresh| refresh.token.as_str())))
    }

    /// Whether the client is for users of this origin.
    fn takes(&self, user: &User) -> Result<(), ApiError> {
        if self.client().takes(&user.origin) {
            Ok(())
        } else {
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "Client is not authorized for specified user's identity provider.",
            ))
        }
    }
}

/// What a client gets for a user: what both of them may have, of that what was asked for, and of that no more than `narrow`
/// has where it is for somebody who showed a token.
pub(crate) async fn granted(
    app: &App,
    client: &Client,
    user: &User,
    asked: &BTreeSet<String>,
    narrow: Option<&BTreeSet<String>>,
) -> Result<BTreeSet<String>, ApiError> {
    let held = held(app, client, user).await?;
    let granted: BTreeSet<String> = match narrow {
        _ if !asked.is_empty() => {
            let patterns = &client.detail.scope;
            if let Some(scope) = asked.iter().find(|scope| !scopes::may_ask(patterns, scope)) {
                return Err(invalid_scope(scope));
            }
            let within = |scope: &&String| narrow.is_none_or(|narrow| scopes::covers(narrow, scope));
            asked.intersection(&held).filter(within).cloned().collect()
        }
        Some(narrow) => narrow.intersection(&held).cloned().collect(),
        None => scopes::without_sources(held),
    };
    if granted.is_empty() {
        return Err(nothing_granted());
    }
    Ok(granted)
}

/// The scopes that a user has with a client.
pub(crate) async fn held(app: &App, client: &Client, user: &User) -> Result<BTreeSet<String>, ApiError> {
    let groups = app.scopes_of(user).await?;
    if !client.admits(&groups) {
        return Err(ApiError::bad_request(
            "invalid_scope",
            "User does not meet the client's required group criteria.",
        ));
    }
    Ok(scopes::held(&client.detail.scope, &groups))
}

fn nothing_granted() -> ApiError {
    ApiError::bad_request("invalid_scope", "The user is not allowed any of the requested scopes")
}

/// `asked`, if all of it is in `held`.
fn within(asked: &BTreeSet<String>, held: &BTreeSet<String>) -> Result<BTreeSet<String>, ApiError> {
    match asked.iter().find(|scope| !scopes::covers(held, scope)) {
        Some(scope) => Err(invalid_scope(scope)),
        None => Ok(asked.clone()),
    }
}

fn invalid_scope(scope: &str) -> ApiError {
    ApiError::bad_request(
        "invalid_scope",
        format!(
            "{} is invalid. Please use a valid scope name in the request",
            super::error::shown(scope)
        ),
    )
}
