//! The HTTP interface over mTLS: `GET /v1/drains`, and `POST /v1/drains/reached`, with which `weir drain probe` reports
//! that a drain can be reached.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use tokio::net::TcpListener;
use weir_net::{RequestBody, serve_http};
use weir_service::{Clock, Shutdown, Tasks};
use weir_tls::ServerTls;

use crate::registry::Registry;

/// Serves until shutdown is requested.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: &ServerTls,
    registry: Arc<Registry>,
    clock: Clock,
    shutdown: Shutdown,
    tasks: &Tasks,
) {
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let answer = answer(request.method(), request.uri(), &registry, &clock);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    serve_http(listener, tls, service, shutdown, tasks).await;
}

/// Answers a request. The rows carry the `ETag` of the list of bindings from which they follow.
fn answer(method: &Method, uri: &Uri, registry: &Registry, clock: &Clock) -> Response<Full<Bytes>> {
    match uri.path() {
        "/v1/drains" => {}
        "/v1/drains/reached" => return reached(method, uri.query(), registry),
        _ => return plain(StatusCode::NOT_FOUND, "there is only `/v1/drains` here\n"),
    }
    if method != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "this can only be read: use GET\n");
    }
    // The revision is read first, so that the rows are never older than it says.
    let revision = registry.revision();
    let Ok(rows) = serde_json::to_vec(&registry.rows(clock.now_nanos())) else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the rows cannot be written\n");
    };
    let mut answer = Response::new(Full::new(Bytes::from(rows)));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(revision) = revision.and_then(|revision| HeaderValue::from_str(&revision).ok()) {
        headers.insert(header::ETAG, revision);
    }
    answer
}

/// Handles `POST /v1/drains/reached?address=HOST:PORT`: failing drains at this address are tried at once.
fn reached(method: &Method, query: Option<&str>, registry: &Registry) -> Response<Full<Bytes>> {
    if method != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "this is said with POST\n");
    }
    let address = query.and_then(|query| query.strip_prefix("address="));
    let Some(place) = address.filter(|address| address.contains(':')) else {
        return plain(StatusCode::BAD_REQUEST, "the query must be `address=HOST:PORT`\n");
    };
    registry.reached(place);
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer
}
