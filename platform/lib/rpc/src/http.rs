//! HTTP servers with the stack's settings, beside the gRPC ones: TLS with a deadline, bounded connections and headers,
//! graceful shutdown.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use weir_service::{Shutdown, Tasks};
use weir_tls::{ALPN_H2, ALPN_HTTP1, ServerTls};

use crate::incoming;

/// A client that has not sent the head of its request by then is cut.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// How long answers may still run once shutdown was requested.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Most connections of one server, unless it says otherwise.
const MAX_CONNECTIONS: usize = 2048;

/// Bytes of headers that a request may have.
const MAX_HEADERS: usize = 64 * 1024;

/// Serves `service` over HTTP/1.1 and HTTP/2 until `shutdown`; then answers under way may finish.
pub async fn serve_http<S, B>(listener: TcpListener, tls: &ServerTls, service: S, shutdown: Shutdown, tasks: &Tasks)
where
    S: tower::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
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
    S: tower::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let tls = tls.with_alpn(&[ALPN_H2, ALPN_HTTP1]);
    let mut connections = incoming::accept(listener, tls, max_connections, shutdown.clone(), tasks);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MAX_HEADERS);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEADERS).unwrap_or(u32::MAX));
    let server = Arc::new(server);
    let graceful = GracefulShutdown::new();
    while let Some(Some(Ok(connection))) = shutdown.unless_requested(connections.next()).await {
        let (server, watcher) = (Arc::clone(&server), graceful.watcher());
        let service = TowerToHyperService::new(service.clone());
        tasks.spawn("http connection", async move {
            let serving = server.serve_connection_with_upgrades(TokioIo::new(connection), service);
            if let Err(error) = watcher.watch(serving.into_owned()).await {
                tracing::debug!(%error, "HTTP connection ended");
            }
        });
    }
    if tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await.is_err() {
        tracing::warn!("answers were cut at the drain deadline");
    }
}
