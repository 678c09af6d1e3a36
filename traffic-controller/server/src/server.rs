//! The traffic controller as a component.

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
use weir_auth::{Authorizer, Gate, Quota};
use weir_rpc::Target;
use weir_rpc::subscriber::Dopplers;
use weir_service::{Context, Shutdown};
use weir_tls::{ALPN_HTTP1, ClientTls, ServerTls};

use crate::http::service::Service;
use crate::metrics::Metrics;
use crate::stream::host::StreamHost;
use crate::{Config, Error};

/// The name that a doppler's certificate must carry (contract §1).
const DOPPLER: &str = "doppler";

/// Most header fields of a request.
const MAX_HEADERS: usize = 100;

/// How long to wait when the system has no more file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// A traffic controller that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    client_tls: ClientTls,
    authorizer: Arc<dyn Authorizer>,
    config: Config,
    context: Context,
}

impl Server {
    /// Reads the certificates and the token file, begins to fetch UAA's keys, and opens the port.
    pub async fn bind(config: Config, context: Context) -> Result<Self, Error> {
        let authorizer = Gate::open(&config.token_file, config.uaa.as_ref(), &context)?;
        Self::with_authorizer(config, context, authorizer).await
    }

    /// The same with somebody else to decide who may read; neither the token file nor UAA is looked at.
    pub async fn with_authorizer(
        config: Config,
        context: Context,
        authorizer: Arc<dyn Authorizer>,
    ) -> Result<Self, Error> {
        let tls = ServerTls::public(&config.cert, &config.key)?.with_alpn(&[ALPN_HTTP1]);
        let client_tls = ClientTls::mutual(&config.identity)?;
        let listen = |source| Error::Listen {
            address: config.listen.socket(),
            source,
        };
        let listener = TcpListener::bind(config.listen.socket()).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
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

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested; then every stream writes what it holds and closes with 1000, and the
    /// subscriptions end behind them.
    pub async fn run(self) -> Result<(), Error> {
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
        // Subscriptions outlive the request to stop: they go when the streams have ended.
        let (subscriptions_go, subscriptions) = Shutdown::new();
        let dopplers = Dopplers::new(&targets, &context.ledger, &subscriptions, &context.tasks);
        let metrics = Metrics::register(&weir_telemetry::meter(context.component), &context.ledger);
        let connections = Arc::new(Semaphore::new(config.max_connections));
        let streams = Arc::new(Semaphore::new(config.max_subscriptions));
        let service = Arc::new(Service {
            authorizer,
            system_domain: config.system_domain.clone(),
            subscriptions: Arc::clone(&streams),
            of_one: Quota::new(config.streams_per_caller),
            host: Arc::new(StreamHost {
                dopplers,
                patience: config.patience,
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
        front.accept(listener, &connections).await;
        // Every place is free again when the last stream and the last connection have ended.
        drop(streams.acquire_many(places(config.max_subscriptions)).await);
        drop(connections.acquire_many(places(config.max_connections)).await);
        subscriptions_go.fire();
        Ok(())
    }
}

fn places(count: usize) -> u32 {
    u32::try_from(count).expect("limited by the configuration")
}

/// Accepts connections and serves HTTP on them.
#[derive(Debug, Clone)]
struct Front {
    tls: ServerTls,
    service: Arc<Service>,
    config: Config,
    context: Context,
}

impl Front {
    /// Accepts until shutdown is requested; over the limit further connections wait in the kernel's queue.
    async fn accept(self, listener: TcpListener, places: &Arc<Semaphore>) {
        let shutdown = self.context.shutdown.clone();
        while let Some(Ok(place)) = shutdown.unless_requested(Arc::clone(places).acquire_owned()).await {
            let Some(accepted) = shutdown.unless_requested(listener.accept()).await else {
                return;
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
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let handshake = async {
            stream.set_nodelay(true)?;
            self.tls.acceptor().accept(stream).await
        };
        match tokio::time::timeout(self.config.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => self.serve(stream, peer, place).await,
            Ok(Err(error)) => tracing::debug!(%peer, error = %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
    }

    async fn serve(self, stream: TlsStream<TcpStream>, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let place = Arc::new(place);
        let service = service_fn(|request| {
            let (service, place) = (Arc::clone(&self.service), Arc::clone(&place));
            async move { Ok::<_, Infallible>(service.answer(request, peer, &place).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.header_timeout)
            .max_buf_size(self.config.header_bytes)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(serving);
        let served = tokio::select! {
            served = &mut serving => served,
            () = self.context.shutdown.requested() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, error = %error, "connection ended with an error");
        }
    }
}
