//! HTTP/2 connections to backends, each of which serves many requests at a time.

use std::collections::HashMap;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::Instant;
use weir_platform_gorouter_table::EndpointId;
use weir_service::Tasks;

use super::{RequestBody, Wire};

/// Bytes of an answer's body that a backend may send before its client has read them.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes of all bodies on a connection that a backend may send before their clients have read them.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// An HTTP/2 connection to a backend. Clones use the same one.
#[derive(Debug, Clone)]
pub(crate) struct Shared(http2::SendRequest<RequestBody>);

impl Shared {
    /// Begins HTTP/2 on a new connection, which a task moves until nobody has a clone any more.
    pub(crate) async fn open(wire: Wire, tasks: &Tasks) -> Result<Self, hyper::Error> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(wire)).await?;
        tasks.spawn("http2 connection to a backend", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a backend ended");
            }
        });
        Ok(Self(sender))
    }

    /// Waits until the backend takes another request.
    pub(crate) async fn ready(&mut self) -> Result<(), hyper::Error> {
        self.0.ready().await
    }

    /// Sends a request and waits for the head of its answer; a request of which nothing was sent comes back with the error.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.0.try_send_request(request).await
    }
}

/// A bounded number of HTTP/2 connections, one for each backend.
#[derive(Debug)]
pub(crate) struct SharedPool {
    most: usize,
    connections: Mutex<HashMap<EndpointId, Used, ahash::RandomState>>,
}

#[derive(Debug)]
struct Used {
    connection: Shared,
    last: Instant,
}

impl SharedPool {
    /// A pool of `most` connections.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            connections: Mutex::default(),
        }
    }

    /// The connection to `backend`, if there is one that takes requests.
    pub(crate) fn get(&self, backend: EndpointId, now: Instant) -> Option<Shared> {
        let mut connections = self.connections.lock();
        let used = connections.get_mut(&backend)?;
        if used.connection.0.is_closed() {
            connections.remove(&backend);
            return None;
        }
        used.last = now;
        Some(used.connection.clone())
    }

    /// Keeps a connection; the one that was used longest ago goes when there are too many. Its requests go on.
    pub(crate) fn put(&self, backend: EndpointId, connection: Shared, now: Instant) {
        let mut connections = self.connections.lock();
        if connections.len() >= self.most && !connections.contains_key(&backend) {
            let oldest = connections
                .iter()
                .min_by_key(|(_, used)| used.last)
                .map(|(backend, _)| *backend);
            if let Some(oldest) = oldest {
                connections.remove(&oldest);
            }
        }
        if self.most > 0 {
            connections.insert(backend, Used { connection, last: now });
        }
    }

    /// Drops the connection to `backend`: it failed, or its route is gone.
    pub(crate) fn forget(&self, backend: EndpointId) {
        self.connections.lock().remove(&backend);
    }

    /// Drops connections that were not used for as long as an idle one may lie.
    pub(crate) fn expire(&self, now: Instant) {
        self.connections
            .lock()
            .retain(|_, used| used.last + super::pool::IDLE > now);
    }
}
