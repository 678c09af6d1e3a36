//! The endpoints.
//!
//! | Path | What |
//! |---|---|
//! | `POST /oauth/token` | every grant |
//! | `GET`, `POST /oauth/authorize` | authorization codes, for browsers and for the cf CLI |
//! | `GET /token_keys`, `/token_key` | the keys that sign |
//! | `POST /check_token`, `/introspect` | what a token says, and whether it counts |
//! | `GET /userinfo`, `/.well-known/openid-configuration` | OpenID Connect |
//! | `GET /login`, `/info`, `/passcode`, `POST /login.do`, `GET /logout.do`, `/login/oidc/…` | people |
//! | `/Users`, `/Groups`, `/ids/Users`, `/oauth/clients` | administration |
//! | `/oauth/token/revoke/…`, `/oauth/token/list/…` | tokens that were issued |
//! | `GET /weir/v1/revocations`, `POST /weir/v1/keys/rotate` | verifiers and operators of a Weir stack |
//! | `GET /healthz` | whether it runs |

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};

use crate::app::App;

mod bearer;
mod check;
mod client_auth;
mod discovery;
mod error;
mod form;
mod info;
mod keys;
mod token;
mod userinfo;

pub(crate) use error::ApiError;

/// Largest body of all: JSON of administration.
const LARGEST: usize = 1 << 20;

/// All routes.
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
        .route("/healthz", get(async || "ok\n"))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The resource does not take this method",
            )
        })
        // Why: a body has an end, whoever sends it.
        .layer(DefaultBodyLimit::max(LARGEST))
        // Why: every answer is counted and timed, and is nothing for sniffing.
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// Counts and times answers, and sets the headers that all have.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = app.clock.instant();
    let mut response = next.run(request).await;
    app.metrics
        .answered(response.status(), app.clock.instant().saturating_duration_since(start));
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("same-origin"));
    response.into_response()
}
