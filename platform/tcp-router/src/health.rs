//! `GET /health`: whether a load balancer may send connections to this router.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use weir_net::RequestBody;
use weir_service::{Health, State};

/// Answers one request: 200 while the router serves, and 503 with the reason otherwise.
pub(crate) fn answer(
    request: &http::Request<RequestBody>,
    health: &Health,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.uri().path(), health.overall()) {
        ("/health", State::Serving) => (StatusCode::OK, "ok\n".to_owned()),
        ("/health", state) => (StatusCode::SERVICE_UNAVAILABLE, format!("{state}\n")),
        _ => (StatusCode::NOT_FOUND, "not found: ask for `/health`\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(response)
}
