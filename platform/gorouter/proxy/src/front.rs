//! The router's own ports: clients' connections, HTTP/1.1 and HTTP/2 on them, and their end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use weir_net::Connection;
use weir_service::Shutdown;
use weir_tls::ALPN_H2;

use crate::exchange::exchange;
use crate::peer::Peer;
use crate::router::Router;

mod watch;

use watch::{Over, Watched};
pub(crate) use watch::{Patience, Watch};

/// Most requests under way on one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;

/// Bytes of a request's body that a client may send before a backend takes them.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes of all bodies of a connection that a client may send before backends take them.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// Streams that a client has reset and that are still looked after; beyond them the connection is closed (rapid reset).
const RESET_STREAMS: usize = 20;

/// Bytes that one HTTP/2 stream buffers of an answer.
const SEND_BUFFER: usize = 256 * 1024;

/// What serves connections.
#[derive(Debug)]
pub(crate) struct Front {
    router: Arc<Router>,
    patience: Patience,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Front {
    /// Serves `router` to clients that have `patience`, with heads of `head` bytes at most.
    pub(crate) fn new(router: Arc<Router>, patience: Patience, head: usize) -> Self {
        let mut http1 = http1::Builder::new();
        http1.title_case_headers(true).max_buf_size(head);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_pending_accept_reset_streams(RESET_STREAMS)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX));
        Self {
            router,
            patience,
            http1,
            http2,
        }
    }

    /// Serves one connection until its client goes or has to, or until `closing` asks for its end: then what is under way is
    /// finished.
    pub(crate) async fn serve(&self, connection: Connection, closing: Shutdown) {
        let http2 = connection.protocol() == Some(ALPN_H2);
        let peer = Arc::new(Peer {
            router: Arc::clone(&self.router),
            address: connection.peer(),
            address_text: connection.peer().to_string(),
            tls: connection.is_tls(),
            certificate: connection.client_certificate().map(Bytes::copy_from_slice),
            watch: Watch::new(),
            place: connection.place(),
        });
        let io = TokioIo::new(Watched::new(connection, Arc::clone(&peer)));
        let serving = Arc::clone(&peer);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let peer = Arc::clone(&serving);
            async move { Ok::<_, Infallible>(exchange(peer, request).await) }
        });
        macro_rules! until_over {
            ($connection:expr) => {{
                let mut connection = pin!($connection);
                let over = tokio::select! {
                    result = connection.as_mut() => return ended(result),
                    over = peer.watch.over(&self.patience) => over,
                    () = closing.requested() => Over::Idle,
                };
                if over == Over::Idle {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        result = connection => ended(result),
                        () = stalled(&peer, &self.patience) => {}
                    }
                }
            }};
        }
        match http2 {
            true => until_over!(self.http2.serve_connection(io, service)),
            false => until_over!(self.http1.serve_connection(io, service).with_upgrades()),
        }
    }
}

/// Waits until a client that was asked to leave in order does not keep up.
async fn stalled(peer: &Peer, patience: &Patience) {
    while peer.watch.over(patience).await == Over::Idle {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn ended(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection of a client ended");
    }
}
