//! gRPC servers with the stack's settings.

use std::time::Duration;

use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use weir_service::{Shutdown, Tasks};
use weir_tls::ServerTls;

use crate::listen::ServerError;
use crate::port::{Connections, HeldBytes, PortLimits};
use crate::socket::READ_BUFFER;

/// Flow control: a stream may have this much unread at its receiver. It bounds what one stalled consumer can hold.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;

/// The window of a client's connection does not bind: streams are bounded one by one, and a stalled one must not stall the
/// others that share its connection.
pub(crate) const CONNECTION_WINDOW: u32 = 1 << 30;

/// What a server's connection may have unread. Servers read what they are sent, so this binds those only who send what nobody
/// asked for.
const SERVER_WINDOW: u32 = 4 * STREAM_WINDOW;

/// Largest HTTP/2 frame: the default of 16 KiB costs a header and a system call far too often.
pub(crate) const FRAME_SIZE: u32 = 256 * 1024;

/// Clients are pinged this often (logging §3).
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A client that leaves a ping unanswered for so long is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Most streams of one connection, unless the server says otherwise.
const MAX_STREAMS: u32 = 4096;

/// Most connections of one server.
const MAX_CONNECTIONS: usize = 4096;

/// Bytes of headers that a request may have: there are no tokens in them, and a connection has many streams.
const MAX_HEADERS: u32 = 16 * 1024;

/// How long streams have to end themselves once shutdown was requested.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// A gRPC server over mTLS.
#[derive(Debug)]
pub struct GrpcServer {
    tls: ServerTls,
    routes: Routes,
    max_connections: usize,
    max_streams: u32,
}

impl GrpcServer {
    /// A server without services that authenticates itself and its clients by `tls`.
    #[must_use]
    pub fn new(tls: ServerTls) -> Self {
        Self {
            tls,
            routes: Routes::default(),
            max_connections: MAX_CONNECTIONS,
            max_streams: MAX_STREAMS,
        }
    }

    /// Adds a service.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "services are added, not summed")]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = std::convert::Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self
    }

    /// Changes the limit of connections.
    #[must_use]
    pub const fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// Lets one connection have at least so many streams. A component has one connection for all its subscriptions, and a
    /// stream too many waits in its client without a word.
    #[must_use]
    pub fn at_least_streams(mut self, streams: usize) -> Self {
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        self.max_streams = self.max_streams.max(streams);
        self
    }

    /// Serves until `shutdown` is requested: then accepts no more, waits for the streams to end themselves, and cuts
    /// those that do not within ten seconds.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown, tasks: &Tasks) -> Result<(), ServerError> {
        let tls = self.tls.with_alpn(&[b"h2"]);
        let limits = PortLimits {
            read_ahead: READ_BUFFER,
            held: HeldBytes::LARGE,
            ..PortLimits::of(self.max_connections)
        };
        let connections = Connections::accept(listener, tls, limits, shutdown.clone(), tasks);
        let serving = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(SERVER_WINDOW)
            .max_frame_size(FRAME_SIZE)
            .max_concurrent_streams(self.max_streams)
            .http2_max_header_list_size(MAX_HEADERS)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(connections, shutdown.requested_owned());
        let too_late = async {
            shutdown.requested().await;
            tokio::time::sleep(DRAIN_DEADLINE).await;
        };
        tokio::select! {
            served = serving => Ok(served?),
            () = too_late => {
                tracing::warn!("streams were cut at the drain deadline");
                Ok(())
            }
        }
    }
}
