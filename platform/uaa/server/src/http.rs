//! The HTTP endpoints of the UAA.
//!
//! | Path | Purpose |
//! |---|---|
//! | `POST /oauth/token` | tokens, by every grant type |
//! | `GET`, `POST /oauth/authorize` | authorization codes, for browsers and for the cf CLI |
//! | `GET /token_keys`, `/token_key` | the public keys |
//! | `POST /check_token`, `/introspect` | the claims of a token, and whether it is valid |
//! | `GET /userinfo`, `/.well-known/openid-configuration` | OpenID Connect |
//! | `GET /login`, `/info`, `/passcode`, `POST /login.do`, `GET /logout.do`, `/login/oidc/…` | login and logout of people |
//! | `/Users`, `/Groups`, `/ids/Users`, `/oauth/clients` | administration |
//! | `/oauth/token/revoke/…`, `/oauth/token/list/…` | lists and revocations of issued tokens |
//! | `GET /weir/v1/revocations`, `GET /weir/v1/rights`, `POST /weir/v1/keys/rotate` | verifiers and operators of a Weir stack |
//! | `GET /healthz` | whether the server runs |

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, delete, get, patch, post, put};
use http::{HeaderValue, StatusCode, header};
use tracing::Instrument as _;
use weir_platform_uaa_core::app::App;

mod authorize;
mod bearer;
mod browser;
mod check;
mod client_auth;
mod clients;
mod discovery;
mod error;
mod feed;
pub(crate) mod form;
mod info;
mod invalid_grant;
mod keys;
mod login;
mod pages;
mod passcode;
mod provider_login;
pub(crate) mod redirect;
mod revoke;
mod rights;
pub(crate) mod scim;
mod token;
mod unread;
mod unsupported;
mod userinfo;

pub(crate) use error::ApiError;

/// Returns all routes.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/oauth/token", post(token::token))
        .route("/token_keys", get(keys::all))
        .route("/token_key", get(keys::active))
        .route("/weir/v1/keys/rotate", post(keys::rotate))
        .route("/check_token", post(check::check_token))
        .route("/introspect", post(check::introspect))
        .route("/.well-known/openid-configuration", get(discovery::document))
        .route(
            "/oauth/token/.well-known/openid-configuration",
            get(discovery::document),
        )
        .route("/userinfo", get(userinfo::userinfo).post(userinfo::userinfo))
        .route("/info", get(info::info))
        .merge(people())
        .merge(administration())
        .merge(tokens())
        .route("/healthz", get(async || "ok\n"))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "not_found", "There is no such endpoint"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The resource does not take this method",
            )
        })
        // Why: a request for another zone must not change this one.
        .layer(middleware::from_fn(unsupported::one_zone))
        // Why: every answer, also a refusal, is counted and timed, and has the security headers.
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// Returns the routes of pages and their forms.
fn people() -> Router<App> {
    Router::new()
        .route("/", get(login::home))
        .route("/login", get(login::page))
        .route("/login.do", post(login::log_in))
        .route("/logout.do", get(login::log_out).post(login::log_out))
        .route("/login/oidc/{name}", get(provider_login::begin))
        .route("/login/callback/{name}", get(provider_login::finish))
        .route("/passcode", get(passcode::passcode))
        .route("/oauth/authorize", get(authorize::ask).post(authorize::answer))
}

/// Returns the routes of users, groups and clients.
fn administration() -> Router<App> {
    use scim::{groups, ids, members, password, users};
    Router::new()
        .route("/Users", get(users::list).post(users::create))
        .route(
            "/Users/{id}",
            get(users::get)
                .put(users::update)
                .patch(users::patch)
                .delete(users::remove),
        )
        .route("/Users/{id}/password", put(password::change))
        .route("/Users/{id}/status", patch(users::status))
        .route("/ids/Users", get(ids::list))
        .route("/Groups", get(groups::list).post(groups::create))
        .route(
            "/Groups/{id}",
            get(groups::get)
                .put(groups::update)
                .patch(groups::patch)
                .delete(groups::remove),
        )
        .route("/Groups/{id}/members", get(members::list).post(members::add))
        .route(
            "/Groups/{id}/members/{member}",
            get(members::get).delete(members::remove),
        )
        .route("/oauth/clients", get(clients::list).post(clients::create))
        .route(
            "/oauth/clients/{id}",
            get(clients::get).put(clients::update).delete(clients::remove),
        )
        .route("/oauth/clients/{id}/secret", put(clients::secret))
        .route("/oauth/clients/meta", get(clients::all_metadata))
        .route(
            "/oauth/clients/{id}/meta",
            get(clients::metadata).put(unsupported::client_metadata),
        )
        .merge(unsupported_routes())
}

/// Returns the routes of the original that this UAA does not support.
fn unsupported_routes() -> Router<App> {
    Router::new()
        .route("/Groups/External", any(unsupported::external_groups))
        .route("/Groups/External/{*rest}", any(unsupported::external_groups))
        .route("/oauth/clients/tx", any(unsupported::several_clients))
        .route("/oauth/clients/tx/{*rest}", any(unsupported::several_clients))
        .route("/oauth/clients/restricted", any(unsupported::several_clients))
        .route("/oauth/clients/restricted/{*rest}", any(unsupported::several_clients))
        .route("/oauth/clients/{id}/clientjwt", any(unsupported::client_keys))
        .route("/identity-zones", any(unsupported::zones))
        .route("/identity-zones/{*rest}", any(unsupported::zones))
        .route("/identity-providers", any(unsupported::zones))
        .route("/identity-providers/{*rest}", any(unsupported::zones))
}

/// Returns the routes of issued tokens.
fn tokens() -> Router<App> {
    Router::new()
        .route("/oauth/revoke", post(revoke::by_client))
        .route("/oauth/token/revoke/{jti}", delete(revoke::one))
        .route(
            "/oauth/token/revoke/user/{user}",
            get(revoke::user).delete(revoke::user),
        )
        .route(
            "/oauth/token/revoke/client/{client}",
            get(revoke::client).delete(revoke::client),
        )
        .route(
            "/oauth/token/revoke/user/{user}/client/{client}",
            get(revoke::user_of_client).delete(revoke::user_of_client),
        )
        .route("/oauth/token/list/user/{user}", get(revoke::list_user))
        .route("/oauth/token/list/client/{client}", get(revoke::list_client))
        .route("/weir/v1/revocations", get(feed::revocations))
        .route("/weir/v1/rights", get(rights::rights))
}

/// Counts and times answers, records them as a span of the caller's trace, and sets the common headers.
async fn observe(State(app): State<App>, route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let start = app.clock.instant();
    // The span has the route and not the path, because a path contains ids.
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        method = request.method().as_str(),
        uri = route,
        status_code = tracing::field::Empty,
    );
    weir_net::adopt_trace(&span, request.headers());
    let mut response = next.run(request).instrument(span.clone()).await;
    span.record("status_code", response.status().as_u16());
    app.metrics
        .answered(response.status(), app.clock.instant().saturating_duration_since(start));
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("same-origin"));
    if app.has_own_name {
        // One year, which browsers count from the last visit.
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    response
}
