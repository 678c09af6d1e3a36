//! The endpoints.
//!
//! | Path below `/routing/v1` | Scope |
//! |---|---|
//! | `GET /router_groups[?name=]` | `routing.router_groups.read` |
//! | `POST /router_groups`, `PUT`, `DELETE /router_groups/{guid}` | `routing.router_groups.write` |
//! | `GET /routes`, `/events`, `/tcp_routes[?isolation_segment=]`, `/tcp_routes/events` | `routing.routes.read` |
//! | `POST`, `DELETE /routes`, `POST /tcp_routes/create`, `/tcp_routes/delete` | `routing.routes.write` |
//!
//! A token is checked before a body is read.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use http::{HeaderMap, HeaderValue, header};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tracing::Instrument as _;
use weir_auth::{Authorizer, Caller, Denied, Quota, Scope, from_header};
use weir_db::Database;
use weir_net::read_body;
use weir_routing_api_client::models::{Route, TcpRoute};
use weir_service::{Clock, Shutdown};

use crate::metrics::Metrics;
use crate::routes::Routes;

mod backup;
mod events;
mod groups;
mod refusal;
mod routes;
mod tcp_routes;

pub(crate) use backup::backup;
use refusal::Refusal;

/// Most bytes of a body: about 50,000 routes in one request.
const LARGEST: usize = 16 << 20;

/// The scopes, as the original names them.
pub(crate) mod scopes {
    pub(crate) const GROUPS_READ: &str = "routing.router_groups.read";
    pub(crate) const GROUPS_WRITE: &str = "routing.router_groups.write";
    pub(crate) const ROUTES_READ: &str = "routing.routes.read";
    pub(crate) const ROUTES_WRITE: &str = "routing.routes.write";
}

/// What the endpoints work with.
#[derive(Debug, Clone)]
pub(crate) struct App(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    /// Who checks tokens; `None` where access control is off.
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    pub(crate) db: Database,
    pub(crate) http: Routes<Route>,
    pub(crate) tcp: Routes<TcpRoute>,
    pub(crate) locks: Arc<GroupLocks>,
    /// The longest time to live of a route, in seconds.
    pub(crate) max_ttl: i64,
    pub(crate) reserved_ports: Vec<u16>,
    pub(crate) subscriptions: Arc<Semaphore>,
    pub(crate) of_caller: Arc<Quota>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    /// When streams end.
    pub(crate) shutdown: Shutdown,
}

/// Whether router groups may be read and written now: a backup locks them.
#[derive(Debug, Default)]
pub(crate) struct GroupLocks {
    pub(crate) reads: AtomicBool,
    pub(crate) writes: AtomicBool,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    let api = Router::new()
        .route("/router_groups", get(groups::list).post(groups::create))
        .route("/router_groups/{guid}", put(groups::update).delete(groups::remove))
        .route("/routes", get(routes::list).post(routes::upsert).delete(routes::remove))
        .route("/events", get(events::http))
        .route("/tcp_routes", get(tcp_routes::list))
        .route("/tcp_routes/create", post(tcp_routes::upsert))
        .route("/tcp_routes/delete", post(tcp_routes::remove))
        .route("/tcp_routes/events", get(events::tcp));
    Router::new()
        .nest("/routing/v1", api)
        // Why: a request is a span of its caller's trace, and an answer is nothing for sniffing.
        .layer(middleware::from_fn(observe))
        .with_state(app)
}

async fn observe(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
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
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl App {
    /// The caller, if its token has this scope.
    async fn allow(&self, headers: &HeaderMap, scope: &str) -> Result<Caller, Refusal> {
        let allowed = self.check(headers, scope).await;
        if allowed.is_err() {
            self.metrics.token_error();
        }
        allowed
    }

    async fn check(&self, headers: &HeaderMap, scope: &str) -> Result<Caller, Refusal> {
        let Some(authorizer) = &self.authorizer else {
            return Ok(Caller::new("anybody", Scope::Everything));
        };
        let shown = from_header(headers).map_err(|_| Refusal::unauthorized("invalid token format"))?;
        let shown = shown.unwrap_or_default();
        let words: Vec<&str> = shown.split(' ').collect();
        let [scheme, _] = words[..] else {
            return Err(Refusal::unauthorized("invalid token format"));
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::unauthorized(format!("Invalid token type: {scheme}")));
        }
        let caller = authorizer.caller(Some(shown)).await;
        let caller = caller.map_err(|denied| match denied {
            Denied::Unavailable => Refusal::unchecked(denied),
            denied => Refusal::unauthorized(denied.to_string()),
        })?;
        if !caller.has_scope(scope) {
            return Err(Refusal::unauthorized(
                "You are not authorized to perform the requested action",
            ));
        }
        Ok(caller)
    }

    /// Milliseconds since 1970.
    fn now(&self) -> i64 {
        self.clock.now_nanos() / 1_000_000
    }
}

/// Reads a request's body as JSON. As in the original, what is behind the first value does not matter.
async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let body = read_body(request.into_body(), LARGEST).await.map_err(Refusal::body)?;
    let mut values = serde_json::Deserializer::from_slice(&body).into_iter::<T>();
    match values.next() {
        Some(value) => value.map_err(|error| Refusal::process(&error.to_string())),
        None => Err(Refusal::process("EOF")),
    }
}

/// Reads a list, for which null is an empty one.
async fn read_list<T: DeserializeOwned>(request: Request) -> Result<Vec<T>, Refusal> {
    Ok(read::<Option<Vec<T>>>(request).await?.unwrap_or_default())
}
