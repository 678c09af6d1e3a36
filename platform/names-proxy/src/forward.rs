//! Passes one request without TLS on, and its answer back.

use http::header::{self, HeaderMap, HeaderName};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weir_service::{Shutdown, Tasks};

use crate::way::Refusal;

/// Headers of one connection, beside those that its `Connection` header names (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Sends `request` over a connection of its own, which ends with the answer.
pub(crate) async fn run(
    mut request: Request<Incoming>,
    stream: TcpStream,
    shutdown: Shutdown,
    tasks: &Tasks,
) -> Result<Response<Incoming>, Refusal> {
    let bad = |what: &str| (StatusCode::BAD_REQUEST, what.to_owned());
    let gateway = |error: hyper::Error| (StatusCode::BAD_GATEWAY, weir_error::chain(&error));
    let authority = request.uri().authority().ok_or_else(|| bad("URI names no host"))?;
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::from_str(host).map_err(|_| bad("URI names no host"))?;
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    strip(request.headers_mut());
    request.headers_mut().insert(header::HOST, host);
    let (mut sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(gateway)?;
    tasks.spawn("forward a request", async move {
        if let Some(Err(error)) = shutdown.unless_requested(connection).await {
            tracing::debug!(error = %weir_error::chain(&error), "forwarded request ended");
        }
    });
    let mut answer = sender.send_request(request).await.map_err(gateway)?;
    strip(answer.headers_mut());
    Ok(answer)
}

/// Removes the headers that are about one connection.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
