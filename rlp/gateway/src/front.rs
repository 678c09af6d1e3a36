//! Accepts connections and serves HTTP/1.1 on them.
//!
//! Not `weir_rpc::serve_http`: a client that stops reading must not keep its connection, and a stream that was told to go
//! must be able to cut it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use weir_service::Context;
use weir_tls::ServerTls;

use crate::config::{Limits, Times};
use crate::line::{Line, Noted};
use crate::service::Service;

/// Most header fields of a request.
const MAX_HEADERS: usize = 100;

/// How long to wait when the system has no more file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How long connections may still live once shutdown was requested.
const DRAIN: Duration = Duration::from_secs(8);

/// The public side of the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) tls: ServerTls,
    pub(crate) service: Arc<Service>,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    pub(crate) context: Context,
}

impl Front {
    /// Accepts until shutdown is requested, then waits for the connections that are left; over the limit further ones
    /// wait in the kernel's queue.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let most = self.limits.connections;
        let places = Arc::new(Semaphore::new(most));
        let shutdown = self.context.shutdown.clone();
        while let Some(Ok(place)) = shutdown.unless_requested(Arc::clone(&places).acquire_owned()).await {
            let Some(accepted) = shutdown.unless_requested(listener.accept()).await else {
                break;
            };
            match accepted {
                Ok((stream, peer)) => {
                    let front = self.clone();
                    self.context
                        .tasks
                        .spawn("connection", async move { front.connection(stream, peer, place).await });
                }
                Err(error) => {
                    weir_telemetry::limited!(
                        warn,
                        weir_telemetry::EACH_SECOND,
                        error = %error,
                        "cannot accept a connection"
                    );
                    shutdown.unless_requested(tokio::time::sleep(ACCEPT_AGAIN)).await;
                }
            }
        }
        drop(listener);
        let all = u32::try_from(most).expect("limited by the configuration");
        if tokio::time::timeout(DRAIN, places.acquire_many(all)).await.is_err() {
            tracing::warn!("connections were cut at the drain deadline");
        }
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let handshake = async {
            stream.set_nodelay(true)?;
            self.tls.acceptor().accept(stream).await
        };
        match tokio::time::timeout(self.times.handshake, handshake).await {
            Ok(Ok(stream)) => self.requests(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%peer, error = %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
        drop(place);
    }

    async fn requests(self, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        let (line, is_cut) = Line::new();
        let stream = Noted::new(stream, line.clone());
        let service = service_fn(|request| {
            let (service, line) = (Arc::clone(&self.service), line.clone());
            async move { Ok::<_, Infallible>(service.answer(request, line).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.times.header)
            .max_buf_size(self.limits.header_bytes)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let served = tokio::select! {
            served = &mut serving => served,
            () = is_cut.requested() => {
                tracing::debug!(%peer, "connection was cut");
                return;
            }
            () = self.context.shutdown.requested() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = serving => served,
                    () = is_cut.requested() => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, error = %error, "connection ended with an error");
        }
    }
}
