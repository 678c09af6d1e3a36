//! The ports for operators and load balancers: `/health`, and the table of routes.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;
use weir_net::Connections;
use weir_platform_gorouter_table::{Endpoint, Pool};
use weir_service::{Shutdown, Tasks};

use crate::refusal::Refusal;
use crate::router::Router;

/// How long a caller may take for its request.
const HEAD_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// What a port serves.
#[derive(Debug, Clone)]
pub(crate) enum Status {
    /// The router's health.
    Health,
    /// The routes, for whoever shows these credentials.
    Routes {
        /// The value of `Authorization`.
        authorization: Arc<str>,
    },
}

impl Status {
    /// The routes, for `user` with `password`.
    pub(crate) fn routes(user: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{user}:{password}"));
        Self::Routes {
            authorization: format!("Basic {credentials}").into(),
        }
    }

    fn answer(&self, router: &Router, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (self, request.uri().path()) {
            (Self::Health, "/health") => plain(&router.health.answer()),
            // The job asks so whether the process is there at all.
            (Self::Health, "/is-process-alive-do-not-use-for-loadbalancing") => plain(&Refusal::Healthy),
            (Self::Routes { authorization }, "/routes") => {
                let shown = request
                    .headers()
                    .get(AUTHORIZATION)
                    .map_or(b"".as_slice(), HeaderValue::as_bytes);
                match bool::from(shown.ct_eq(authorization.as_bytes())) {
                    true => routes(router),
                    false => unauthorized(),
                }
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    /// Serves connections until `shutdown`.
    pub(crate) async fn serve(
        self,
        mut connections: Connections,
        router: Arc<Router>,
        shutdown: Shutdown,
        tasks: Tasks,
    ) {
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .title_case_headers(true);
        while let Some(Some(connection)) = shutdown.unless_requested(connections.next()).await {
            let (status, router, shutdown) = (self.clone(), Arc::clone(&router), shutdown.clone());
            let service = service_fn(move |request| {
                let response = status.answer(&router, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let serving = server.serve_connection(TokioIo::new(connection), service);
            tasks.spawn("status connection", async move {
                // Whoever asks for the health asks again.
                shutdown.unless_requested(serving).await;
            });
        }
    }
}

fn plain(refusal: &Refusal) -> Response<Full<Bytes>> {
    let written = refusal.write();
    let mut response = Response::new(Full::new(written.body));
    *response.status_mut() = written.status;
    *response.headers_mut() = written.headers;
    // A load balancer counts connections as health, too.
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::UNAUTHORIZED, "401 Unauthorized\n");
    let challenge = HeaderValue::from_static("Basic realm=\"/\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// The table, as the original shows it.
fn routes(router: &Router) -> Response<Full<Bytes>> {
    let routes = router.registry.routes().into_iter();
    let routes: Map<String, Value> = routes.map(|pool| (pool.route().to_owned(), endpoints(&pool))).collect();
    let mut response = Response::new(Full::new(Value::Object(routes).to_string().into()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn endpoints(pool: &Pool) -> Value {
    let balancing = pool.balancing().name();
    pool.endpoints()
        .iter()
        .map(|member| endpoint(member, balancing))
        .collect()
}

/// One endpoint; what is empty is left out where the original does so.
fn endpoint(endpoint: &Endpoint, balancing: &str) -> Value {
    let tags: Map<String, Value> = endpoint
        .tags()
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let mut shown = json!({
        "address": endpoint.address(),
        "availability_zone": endpoint.availability_zone(),
        "protocol": endpoint.protocol().name(),
        "tls": endpoint.tls(),
        "ttl": endpoint.stale_threshold().as_secs(),
        "tags": tags,
        "load_balancing_algorithm": balancing,
    });
    for (name, value) in [
        ("route_service_url", endpoint.route_service_url()),
        ("isolation_segment", endpoint.isolation_segment()),
        ("private_instance_id", endpoint.instance_id()),
        ("server_cert_domain_san", endpoint.server_cert_domain_san()),
    ] {
        if !value.is_empty() {
            shown[name] = value.into();
        }
    }
    shown
}
