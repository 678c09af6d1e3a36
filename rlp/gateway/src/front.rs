//! Accepts connections and serves HTTP/1.1 on them.
//!
//! This does not use `weir_net::serve_http`, because a client that stops reading must not keep its connection, and
//! because a stream must be able to cut it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use weir_flow::LogContext;
use weir_net::{Connection, Connections, PortLimits};
use weir_service::Context;
use weir_tls::ServerTls;

use crate::config::{RawLimits, RawTimeouts};
use crate::connection::{ConnectionHandle, FlushCounter};
use crate::service::Service;

/// The largest number of header fields in a request.
const MAX_HEADERS: usize = 100;

/// How long connections may stay open after shutdown was requested.
const DRAIN: Duration = Duration::from_secs(8);

/// The public side of the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) tls: ServerTls,
    pub(crate) service: Arc<Service>,
    pub(crate) port: PortLimits,
    pub(crate) limits: RawLimits,
    pub(crate) times: RawTimeouts,
    pub(crate) context: LogContext,
}

impl Front {
    /// Accepts connections until shutdown is requested, and then waits for the remaining ones.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let Context { shutdown, tasks, .. } = &*self.context;
        let mut connections = Connections::accept(listener, self.tls.clone(), self.port, shutdown.clone(), tasks);
        while let Some(Some(connection)) = shutdown.unless_requested(connections.next()).await {
            let front = self.clone();
            tasks.spawn("connection", front.requests(connection));
        }
        if tokio::time::timeout(DRAIN, connections.all_closed()).await.is_err() {
            tracing::warn!("connections were cut at the drain deadline");
        }
    }

    async fn requests(self, connection: Connection) {
        let (handle, is_cut) = ConnectionHandle::new();
        let (peer, place) = (connection.peer(), connection.place());
        let stream = FlushCounter::new(connection, handle.clone());
        let service = service_fn(|request| {
            let (service, handle, under_way) = (Arc::clone(&self.service), handle.clone(), place.begin());
            async move {
                let answer = service.answer(request, handle).await;
                Ok::<_, Infallible>(answer.map(|body| body.under_way(under_way)))
            }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.times.header.get())
            .max_buf_size(self.limits.header_bytes.as_usize())
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
