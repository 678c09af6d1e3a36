//! HTTP over TLS to the stack's own servers: one request, its answer as it comes.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weir_error::ErrorKind;
use weir_tls::{ALPN_HTTP1, ClientTls, server_name};

use crate::background::background;
use crate::failure::Failure;

/// Of the body of an error, no more than this is read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// Sends `request`, whose URI names the server, and waits for the head of the answer. The connection serves this one call
/// and closes when the answer was read or is dropped, which also cancels a query at the server.
pub(crate) async fn send(tls: &ClientTls, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
    let uri = request.uri().clone();
    let unreachable = |error: &dyn std::error::Error| {
        Failure::new(
            ErrorKind::Unavailable,
            format!("`{}`: {error}", uri.authority().map_or("", |name| name.as_str())),
        )
    };
    let stream = TcpStream::connect(address(&uri)?)
        .await
        .map_err(|error| unreachable(&error))?;
    let name = server_name("localhost")?;
    let connector = tls.with_alpn(&[ALPN_HTTP1]).connector();
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| unreachable(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(&error))?;
    // Its errors are those of the request.
    let connection = background(async move { drop(connection.await) });
    let answer = sender.send_request(origin_form(request)?).await;
    if answer.is_err() {
        connection.abort();
    }
    answer.map_err(|error| unreachable(&error))
}

/// The whole of a short body, no more than `most` bytes.
pub(crate) async fn text(response: Response<Incoming>, most: usize) -> Result<String, Failure> {
    #[expect(clippy::disallowed_methods, reason = "the body is limited")]
    let body = Limited::new(response.into_body(), most).collect().await;
    match body {
        Ok(body) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
        Err(error) => Err(Failure::new(
            ErrorKind::Unavailable,
            format!("the answer broke off: {error}"),
        )),
    }
}

/// The body of a refusal, as text.
pub(crate) async fn error_text(response: Response<Incoming>) -> String {
    let text = text(response, MAX_ERROR_BODY).await;
    text.map_or_else(|failure| failure.message().to_owned(), |text| text.trim().to_owned())
}

fn address(uri: &Uri) -> Result<SocketAddr, Failure> {
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    authority
        .parse()
        .map_err(|_| Failure::new(ErrorKind::Internal, format!("`{uri}` names no address")))
}

/// What HTTP/1.1 wants in the first line is the path; the server's name goes into a header.
fn origin_form(mut request: Request<Full<Bytes>>) -> Result<Request<Full<Bytes>>, Failure> {
    let invalid = |error: &dyn std::fmt::Display| Failure::new(ErrorKind::Internal, format!("request: {error}"));
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .unwrap_or_default();
    let path = request
        .uri()
        .path_and_query()
        .map(|path| path.as_str().to_owned())
        .unwrap_or_else(|| "/".to_owned());
    *request.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| invalid(&error))?;
    let host = http::HeaderValue::from_str(&authority).map_err(|error| invalid(&error))?;
    request.headers_mut().insert(http::header::HOST, host);
    Ok(request)
}
