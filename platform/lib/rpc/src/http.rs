//! HTTP servers with the stack's settings, beside the gRPC ones: TLS with a deadline, bounded connections and headers,
//! clients that keep up, graceful shutdown.
//!
//! A connection has one of few places, so it has to be used: one on which nothing is asked is closed (`IDLE`, `FIRST`), a
//! request has to arrive in time (`request`), and a client that does not read its answers is cut, with everything that is
//! under way on the connection (`STALLED`, and the time that a slow one needs for what it took). What happens on a
//! connection is noted in its [`Activity`], by its requests' answers; its own task looks there.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tower::ServiceExt as _;
use weir_service::{Shutdown, Tasks};
use weir_tls::{ALPN_H2, ALPN_HTTP1, ServerTls};

use crate::incoming;

mod activity;
mod answer;
mod request;

use activity::{Activity, Over};
use answer::Answer;
pub use request::RequestBody;

/// A client that has not sent the head of its request by then is cut.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// How long answers may still run once shutdown was requested, or the connection is to be closed.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Most connections of one server, unless it says otherwise.
const MAX_CONNECTIONS: usize = 2048;

/// Most requests under way on one connection.
const MAX_STREAMS: u32 = 100;

/// Bytes of headers that a request may have.
const MAX_HEADERS: usize = 64 * 1024;

/// Serves `service` over HTTP/1.1 and HTTP/2 until `shutdown`; then answers under way may finish.
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
    serve_http_to_many(listener, tls, service, MAX_CONNECTIONS, shutdown, tasks).await;
}

/// The same for no more than `max_connections` at a time; further ones wait in the kernel's queue.
pub async fn serve_http_to_many<S, B>(
    listener: TcpListener,
    tls: &ServerTls,
    service: S,
    max_connections: usize,
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
    let mut connections = incoming::accept(listener, tls, max_connections, shutdown.clone(), tasks);
    let server = Arc::new(server());
    // Nothing is ever sent: the end of the last connection ends the channel.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    while let Some(Some(Ok(connection))) = shutdown.unless_requested(connections.next()).await {
        let (server, service, open) = (Arc::clone(&server), service.clone(), open.clone());
        let shutdown = shutdown.clone();
        tasks.spawn("http connection", async move {
            serve_connection(&server, connection, service, &shutdown).await;
            drop(open);
        });
    }
    drop(open);
    if tokio::time::timeout(DRAIN_DEADLINE, all_closed.recv()).await.is_err() {
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
        .max_header_list_size(u32::try_from(MAX_HEADERS).unwrap_or(u32::MAX));
    server
}

/// Serves one connection until its client goes, or has to.
async fn serve_connection<S, B>(
    server: &auto::Builder<TokioExecutor>,
    connection: incoming::Connection,
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
    let noted = Arc::clone(&activity);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let exchange = noted.begin();
        let answer = service.clone().oneshot(request.map(RequestBody::new));
        async move { Ok::<_, Infallible>(answer.await?.map(|body| Answer::new(body, exchange))) }
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
