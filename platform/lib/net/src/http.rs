//! HTTP servers: TLS with a deadline, bounded connections and headers, clients that have to keep up, and a graceful
//! shutdown.
//!
//! A port has a bounded number of places, so a connection has to be used. A connection without requests is closed
//! (`FIRST_REQUEST_TIMEOUT`, `IDLE_TIMEOUT`), and a request has to arrive in time (`request`). A client that does not
//! read its answers is cut, with every request under way on its connection (`STALL_TIMEOUT`, and the time that a slow
//! client needs for what it has taken). The answers note in the connection's [`Activity`] what happens, and the
//! connection's task reads it.
//!
//! The bytes that a request holds are charged to its connection, its peer network and the port, from the head of the
//! request to the head of its answer. The bytes of bodies that the transport holds before they are read are bounded by
//! HTTP/2's windows (`STREAM_WINDOW`, `CONNECTION_WINDOW`).

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tower::ServiceExt as _;
use weir_error::Classify as _;
use weir_service::{Shutdown, Tasks};
use weir_tls::{ALPN_H2, ALPN_HTTP1, ServerTls};

use crate::port::{Connection, Connections, Exceeded, PortLimits};

mod activity;
mod answer;
mod request;

use activity::{Activity, CloseReason};
use answer::Answer;
pub use request::{BodyError, RequestBody, read_body};

/// How long a client may take to send the head of a request over HTTP/1.1 before it is cut.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// How long answers may still take once shutdown was requested, or once their connection is to be closed.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// The largest number of connections of a server that sets no limits of its own.
const MAX_CONNECTIONS: usize = 2048;

/// The largest number of requests under way on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;

/// The HTTP/2 window of a stream: how many bytes of a request's body a client may send before they are read.
const STREAM_WINDOW: u32 = 32 * 1024;

/// The HTTP/2 window of a connection: how many bytes of all bodies a client may send before they are read. It has room
/// for several streams, so that one body which nobody reads yet does not hold up the others.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// The largest head of a request, in bytes.
const MAX_HEADERS: usize = 64 * 1024;

/// The bytes that a header field takes in addition to its name and its value, as HTTP/2 counts them (RFC 9113, §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Serves `service` over HTTP/1.1 and HTTP/2 until `shutdown` is requested, on at most [`MAX_CONNECTIONS`] connections.
/// Then the answers under way may finish.
pub async fn serve_http<S, B>(listener: TcpListener, tls: &ServerTls, service: S, shutdown: Shutdown, tasks: &Tasks)
where
    S: tower::Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    serve_http_within(PortLimits::of(MAX_CONNECTIONS), listener, tls, service, shutdown, tasks).await;
}

/// Serves `service` over HTTP/1.1 and HTTP/2 within `limits` until `shutdown` is requested. Then the answers under way
/// may finish.
pub async fn serve_http_within<S, B>(
    limits: PortLimits,
    listener: TcpListener,
    tls: &ServerTls,
    service: S,
    shutdown: Shutdown,
    tasks: &Tasks,
) where
    S: tower::Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let tls = tls.with_alpn(&[ALPN_H2, ALPN_HTTP1]);
    let connections = Connections::accept(listener, tls, limits, shutdown.clone(), tasks);
    serve_connections(connections, service, shutdown, tasks).await;
}

/// Serves `service` over HTTP/1.1 and HTTP/2 without TLS, within `limits` until `shutdown`; then answers under way may finish.
pub async fn serve_plain_http<S, B>(
    limits: PortLimits,
    listener: TcpListener,
    service: S,
    shutdown: Shutdown,
    tasks: &Tasks,
) where
    S: tower::Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connections = Connections::accept_plain(listener, limits, shutdown.clone(), tasks);
    serve_connections(connections, service, shutdown, tasks).await;
}

async fn serve_connections<S, B>(mut connections: Connections, service: S, shutdown: Shutdown, tasks: &Tasks)
where
    S: tower::Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // One builder for all connections, because it has only settings.
    let server = Arc::new(server());
    while let Some(Some(connection)) = shutdown.unless_requested(connections.next()).await {
        let (server, service, shutdown) = (Arc::clone(&server), service.clone(), shutdown.clone());
        tasks.spawn("http connection", async move {
            serve_connection(&server, connection, service, &shutdown).await;
        });
    }
    if tokio::time::timeout(DRAIN_DEADLINE, connections.all_closed())
        .await
        .is_err()
    {
        tracing::warn!("answers were cut at the drain deadline");
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MAX_HEADERS);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(MAX_HEADERS).unwrap_or(u32::MAX));
    server
}

/// Serves one connection until its client closes it, it is idle or stalled for too long, or shutdown is requested.
async fn serve_connection<S, B>(
    server: &auto::Builder<TokioExecutor>,
    connection: Connection,
    service: S,
    shutdown: &Shutdown,
) where
    S: tower::Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = Activity::new();
    let (noted, place) = (Arc::clone(&activity), connection.place());
    let service = service_fn(move |request: http::Request<Incoming>| {
        let exchange = noted.begin(place.begin());
        // The charge is kept until there is an answer, because by then the service has dropped what it read from the
        // request.
        let held = Arc::new(place.charge());
        let answer = held.add(head_of(&request)).map(|()| {
            let request = request.map(|body| RequestBody::new(body, Arc::clone(&held)));
            service.clone().oneshot(request)
        });
        async move {
            let answer = match answer {
                Ok(answer) => answer.await?.map(|body| Answer::new(body, exchange)),
                Err(exceeded) => refusal(exceeded).map(|text| Answer::text(text, exchange)),
            };
            drop(held);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut serving = pin!(server.serve_connection_with_upgrades(TokioIo::new(connection), service));
    let result = tokio::select! {
        result = serving.as_mut() => Some(result),
        close_reason = activity.close_reason() => match close_reason {
            // The client reads nothing, so it would not read a graceful end either.
            CloseReason::Stalled => {
                tracing::debug!("a client that does not read its answer is cut");
                return;
            }
            // Closed gracefully: an HTTP/2 client learns in this way that a request which it sends now was not served.
            CloseReason::Idle => None,
        },
        () = shutdown.requested() => None,
    };
    let result = match result {
        Some(result) => Ok(result),
        None => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN_DEADLINE, serving).await
        }
    };
    if let Ok(Err(error)) = result {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

/// The approximate size of a request's head in bytes.
fn head_of<B>(request: &http::Request<B>) -> usize {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD);
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    path + fields.sum::<usize>()
}

/// The answer to a request for which a budget has no room.
fn refusal(exceeded: Exceeded) -> http::Response<Bytes> {
    let hint = exceeded.hint().unwrap_or_default();
    let mut response = http::Response::new(Bytes::from(format!("{exceeded}: {hint}\n")));
    *response.status_mut() = exceeded.kind().http_status();
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    response
}
