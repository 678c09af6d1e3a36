//! HTTP servers with the stack's settings, beside the gRPC ones: TLS with a deadline, bounded connections and headers,
//! clients that keep up, graceful shutdown.
//!
//! A connection has one of few places, so it has to be used: one on which nothing is asked is closed (`IDLE`, `FIRST`), a
//! request has to arrive in time (`request`), and a client that does not read its answers is cut, with everything that is
//! under way on the connection (`STALLED`, and the time that a slow one needs for what it took). What happens on a
//! connection is noted in its [`Activity`], by its requests' answers; its own task looks there.
//!
//! What requests hold is charged to the connection, its peer and the port, from a request's head to its answer's. What the
//! transport holds of bodies that nobody reads yet is bounded by HTTP/2's windows (`STREAM_WINDOW`, `CONNECTION_WINDOW`).

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

use activity::{Activity, Over};
use answer::Answer;
pub use request::{BodyError, RequestBody, read_body};

/// A client that has not sent the head of its request by then is cut.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// How long answers may still run once shutdown was requested, or the connection is to be closed.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Most connections of one server, unless it says otherwise.
const MAX_CONNECTIONS: usize = 2048;

/// Most requests under way on one connection.
const MAX_STREAMS: u32 = 100;

/// Bytes of a request's body that a client may send before it is read.
const STREAM_WINDOW: u32 = 32 * 1024;

/// Bytes of all bodies of a connection that a client may send before they are read: a few that wait do not hold up the others.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// Bytes of headers that a request may have.
const MAX_HEADERS: usize = 64 * 1024;

/// What a header field takes beside its name and its value, as HTTP/2 counts it.
const FIELD: usize = 32;

/// Serves `service` over HTTP/1.1 and HTTP/2 until `shutdown`, on [`MAX_CONNECTIONS`] connections; then answers under way may
/// finish.
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

/// Serves `service` over HTTP/1.1 and HTTP/2 within `limits` until `shutdown`; then answers under way may finish.
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

/// Serves one connection until its client goes, or has to.
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
        // Kept until there is an answer: what a request was read into is gone by then.
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
        over = activity.over() => match over {
            Over::Stalled => {
                tracing::debug!("a client that does not read its answer is cut");
                return;
            }
            Over::Idle => None,
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

/// Bytes that the head of a request takes, about.
fn head_of<B>(request: &http::Request<B>) -> usize {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    path + fields.sum::<usize>()
}

/// The answer to a request that has no room.
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
