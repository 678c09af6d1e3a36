//! The gRPC server of all components: flow control, limits, keep-alive and shutdown.

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

/// The HTTP/2 window of a stream, in bytes: how much may be sent that its receiver has not read. It bounds the memory
/// that one stalled consumer can hold.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;

/// The HTTP/2 window of a client's connection, in bytes. It is so large that it never limits: each stream has its own
/// window, and a stalled stream must not stall the others that share its connection.
pub(crate) const CONNECTION_WINDOW: u32 = 1 << 30;

/// The HTTP/2 window of a server's connection, in bytes. Servers read what they are sent, so it limits only clients
/// that send without being read, such as on many streams at a time.
const SERVER_WINDOW: u32 = 4 * STREAM_WINDOW;

/// The largest HTTP/2 frame, in bytes. With the default of 16 KiB, a batch would take a dozen headers and system calls.
pub(crate) const FRAME_SIZE: u32 = 256 * 1024;

/// How often a server pings its clients (logging §3).
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How long a ping may stay unanswered before the connection is closed.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The default of the largest number of streams on one connection; see [`GrpcServer::at_least_streams`].
const MAX_STREAMS: u32 = 4096;

/// The default of the largest number of connections of one server; see [`GrpcServer::max_connections`].
const MAX_CONNECTIONS: usize = 4096;

/// The largest header list of a request, in bytes. It is small because no caller sends a token here, and a connection
/// may have thousands of streams.
const MAX_HEADERS: u32 = 16 * 1024;

/// How long the streams may take to end once shutdown was requested. They are cut then.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// A gRPC server over mTLS: both sides show a certificate.
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

    /// Sets the largest number of connections.
    #[must_use]
    pub const fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// Lets one connection have at least `streams` streams. A component has one connection for all its subscriptions,
    /// and a stream beyond the limit waits in the client's HTTP/2 library without an error.
    #[must_use]
    pub fn at_least_streams(mut self, streams: usize) -> Self {
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        self.max_streams = self.max_streams.max(streams);
        self
    }

    /// Serves until `shutdown` is requested. Then it accepts no more connections, waits ten seconds for the streams to
    /// end, and cuts those that have not.
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
        // tonic waits for its streams without a limit, so the limit is here.
        let too_late = async {
            shutdown.requested().await;
            tokio::time::sleep(DRAIN_DEADLINE).await;
        };
        tokio::select! {
            served = serving => Ok(served?),
            () = too_late => {
                // The streams count what they lose when they are dropped.
                tracing::warn!("streams were cut at the drain deadline");
                Ok(())
            }
        }
    }
}
