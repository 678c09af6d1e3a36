//! `POST /oauth/token`: issues tokens, by every grant type.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::issue::{Grant, new_jti};
use weir_platform_uaa_store::{Client, User, scopes, secrets};

use crate::http::client_auth::{self, RequestingClient};
use crate::http::error::ApiError;
use crate::http::form::Form;
use crate::http::unread::UnreadBody;

mod code;
mod jwt_bearer;
mod password;
mod refresh;

/// The name of the JWT-bearer grant (RFC 7523 §2.1).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The parameters that have an effect in the original and none here: the values that are accepted, and the reason.
const NOT_DONE: [(&str, &[&str], &str); 4] = [
    (
        "token_format",
        &["jwt"],
        "all tokens are JWTs, which can be revoked like opaque ones",
    ),
    ("client_assertion", &[], "clients authenticate with secrets"),
    ("authorities", &[], "the authorities of a user are groups"),
    ("mfaCode", &[], "there is no second factor"),
];

/// A token request of a known client.
struct Request<'r> {
    app: &'r App,
    requester: RequestingClient,
    form: &'r Form,
    /// The parameters of the query string, of which only `login_hint` is used.
    query: &'r Form,
}

/// An authenticated user, with the limits of the tokens that may be issued.
struct Login<'l> {
    user: User,
    grant_type: &'l str,
    /// The time of the login, in seconds since 1970.
    auth_time: i64,
    /// The scopes that the tokens may have; `None`: all that client and user may have.
    scopes: Option<BTreeSet<String>>,
    /// The latest end of the access token, in seconds since 1970.
    access_until: Option<i64>,
    /// The latest end of the refresh token, in seconds since 1970.
    refresh_until: Option<i64>,
}

impl Login<'_> {
    /// Returns a login with a password, whose tokens have no further limits.
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
    body: UnreadBody,
) -> Result<Response, ApiError> {
    let form = Form::posted(&headers, body).await?;
    let query = Form::query(query.as_deref())?;
    // URLs are written to logs, so they must not contain secrets.
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
    // Before the grant type is looked at: an unknown client gets `invalid_client` for every request.
    let requester = client_auth::client(&app, &headers, &form).await?;
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
            format!("Unsupported grant type: {}", super::error::excerpt(&grant_type)),
        ));
    }
    if !requester.client.may(&grant_type) {
        // RFC 6749 §5.2 demands 400 `unauthorized_client`. The cf CLI shows the text of the original's answer.
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "Unauthorized grant type",
        ));
    }
    // Without a secret, only a verifier of PKCE or a rotated refresh token shows that the request comes from the client.
    if !requester.showed_secret && !matches!(grant_type.as_str(), "authorization_code" | "refresh_token") {
        return Err(ApiError::invalid_client());
    }
    let request = Request {
        app: &app,
        requester,
        form: &form,
        query: &query,
    };
    // The futures of these grants are large. Boxed, they do not enlarge the task of every other request.
    let answer = match grant_type.as_str() {
        "password" => Box::pin(request.password()).await?,
        "refresh_token" => Box::pin(request.refresh()).await?,
        "client_credentials" => request.client_credentials().await?,
        "authorization_code" => Box::pin(request.code()).await?,
        _ => Box::pin(request.jwt_bearer()).await?,
    };
    Ok(uncached(answer))
}

/// Returns the answer with headers that forbid caches to keep it (RFC 6749 §5.1).
fn uncached(answer: Value) -> Response {
    let mut response = Json(answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

impl Request<'_> {
    fn client(&self) -> &Client {
        &self.requester.client
    }

    /// Returns the requested scopes; none if the request leaves them to the server.
    fn asked(&self) -> BTreeSet<String> {
        scopes::parse(self.form.filled("scope").unwrap_or_default())
    }

    async fn client_credentials(&self) -> Result<Value, ApiError> {
        let own = scopes::held_by_client(&self.client().detail.authorities);
        let asked = self.asked();
        let granted = if asked.is_empty() {
            // `logs.read` stands for all sources, whose names would make the token longer. A request can name single ones.
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
        let second = self.app.store_grant(&grant, None).await?;
        Ok(self.app.access(&grant, new_jti(), second).answer(None))
    }

    /// Returns the answer for an authenticated user: an access token, and a refresh token if the client may have one.
    async fn user_tokens(&self, login: &Login<'_>) -> Result<Value, ApiError> {
        self.check_user_origin(&login.user)?;
        let asked = self.asked();
        // An assertion with few scopes must not become a token with more.
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
        // No token leaves before `store_grant` has found, in its transaction, that user and client are not revoked.
        let second = self.app.store_grant(&grant, refresh.as_ref()).await?;
        let access = self.app.access(&grant, new_jti(), second);
        Ok(access.answer(refresh.as_ref().map(|refresh| refresh.token.as_str())))
    }

    /// Refuses a user of an origin that may not use the client.
    fn check_user_origin(&self, user: &User) -> Result<(), ApiError> {
        if self.client().accepts_origin(&user.origin) {
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

/// Returns the scopes of a token: those that both client and user may have, of these the requested ones, and of these no more
/// than `narrow` has if the user showed a token.
pub(crate) async fn granted(
    app: &App,
    client: &Client,
    user: &User,
    asked: &BTreeSet<String>,
    narrow: Option<&BTreeSet<String>>,
) -> Result<BTreeSet<String>, ApiError> {
    let held = held(app, client, user).await?;
    let granted: BTreeSet<String> = match narrow {
        // A scope that the client may never ask for is a mistake of the client and an error. One that only the user lacks is
        // left out: the answer names the scopes that were granted (RFC 6749 §3.3).
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

/// Returns the scopes that a user has with a client.
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

/// Returns `asked` if `held` covers all of it.
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
            super::error::excerpt(scope)
        ),
    )
}
