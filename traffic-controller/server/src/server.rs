//! The traffic controller as a component: its port, the HTTP connections, and the order of its shutdown.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use weir_auth::{Authorizer, Gate, Quota, StartError};
use weir_flow::LogContext;
use weir_net::{Connection, Connections, Target, listen};
use weir_rpc::subscriber::Dopplers;
use weir_service::{Context, Shutdown};
use weir_tls::{ALPN_HTTP1, ClientTls, IdentityFiles, ServerTls};

use crate::Config;
use crate::http::service::Service;
use crate::metrics::Metrics;
use crate::stream::host::StreamHost;

/// The name that a doppler's certificate must carry (logging §1).
const DOPPLER: &str = "doppler";

/// The largest number of header fields of a request.
const MAX_HEADERS: usize = 100;

/// A traffic controller with an open port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    client_tls: ClientTls,
    authorizer: Arc<dyn Authorizer>,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and the token file, begins to fetch UAA's keys, and opens the port.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, StartError> {
        let authorizer = Gate::open(&config.token_file, config.uaa.as_ref(), &config.identity, &context)?;
        Self::with_authorizer(config, context, authorizer).await
    }

    /// Reads the certificates and opens the port of a traffic controller whose callers are checked by `authorizer`. The
    /// configured token file and UAA are not used.
    pub async fn with_authorizer(
        config: Config,
        context: LogContext,
        authorizer: Arc<dyn Authorizer>,
    ) -> Result<Self, StartError> {
        let tls = ServerTls::public_knowing(&IdentityFiles {
            ca: config.identity.ca.clone(),
            cert: config.cert.clone(),
            key: config.key.clone(),
        })?;
        // WebSockets need HTTP/1.1.
        let tls = tls.with_alpn(&[ALPN_HTTP1]);
        let client_tls = ClientTls::mutual(&config.identity)?;
        let (listener, address) = listen(config.listen.socket()).await?;
        Ok(Self {
            listener,
            address,
            tls,
            client_tls,
            authorizer,
            config,
            context,
        })
    }

    /// The address on which the traffic controller listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested; then every stream writes what it holds and closes with 1000, and the
    /// subscriptions end behind them.
    pub async fn run(self) -> Result<(), StartError> {
        let Self {
            listener,
            tls,
            client_tls,
            authorizer,
            config,
            context,
            ..
        } = self;
        let targets: Vec<Target> = config
            .dopplers
            .iter()
            .map(|address| Target {
                address: address.to_string(),
                server_name: DOPPLER.to_owned(),
                tls: client_tls.clone(),
            })
            .collect();
        // Subscriptions outlive the request to stop, because their acknowledgements are sent while the streams end.
        let (stop_subscriptions, subscriptions_stop) = Shutdown::new();
        let dopplers = Dopplers::new(&targets, &context.ledger, &subscriptions_stop, &context.tasks);
        let metrics = Metrics::register(&context.meter(), &context.ledger);
        let streams = Arc::new(Semaphore::new(config.limits.subscriptions));
        let service = Arc::new(Service {
            authorizer,
            system_domain: config.system_domain.clone(),
            subscriptions: Arc::clone(&streams),
            of_one: Quota::new(config.limits.streams_per_caller),
            host: Arc::new(StreamHost {
                dopplers,
                patience: config.timeouts.into(),
                context: context.clone(),
                metrics,
            }),
        });
        let front = Front {
            tls,
            service,
            config: config.clone(),
            context,
        };
        // When all permits can be acquired, the last stream has ended. A stream can end after its connection has
        // closed.
        front.accept(listener).await.all_closed().await;
        drop(streams.acquire_many(permits(config.limits.subscriptions)).await);
        stop_subscriptions.fire();
        Ok(())
    }
}

/// The number of permits of a semaphore in the type that tokio acquires many of.
fn permits(count: usize) -> u32 {
    u32::try_from(count).expect("limited by the configuration")
}

/// Accepts connections and serves HTTP on them.
#[derive(Debug, Clone)]
struct Front {
    tls: ServerTls,
    service: Arc<Service>,
    config: Config,
    context: LogContext,
}

impl Front {
    /// Accepts connections until shutdown is requested. Returns those that are left.
    async fn accept(self, listener: TcpListener) -> Connections {
        let Context { shutdown, tasks, .. } = &*self.context;
        let tls = self.tls.clone();
        let mut connections = Connections::accept(listener, tls, self.config.port, shutdown.clone(), tasks);
        while let Some(Some(connection)) = shutdown.unless_requested(connections.next()).await {
            tasks.spawn("connection", self.clone().serve(connection));
        }
        connections
    }

    /// Serves HTTP on a connection until the client closes it or shutdown is requested.
    async fn serve(self, connection: Connection) {
        let (peer, place) = (connection.peer(), connection.place());
        let service = service_fn(|request| {
            let (service, under_way) = (Arc::clone(&self.service), place.begin());
            async move { Ok::<_, Infallible>(service.answer(request, peer, under_way).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.timeouts.header.get())
            .max_buf_size(self.config.limits.header_bytes.as_usize())
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades();
        tokio::pin!(serving);
        let served = tokio::select! {
            served = &mut serving => served,
            () = self.context.shutdown.requested() => {
                // A request under way is answered, and then the connection is closed.
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, error = %error, "connection ended with an error");
        }
    }
}
