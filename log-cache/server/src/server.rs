//! The log cache as a component: its ports, the store, and the feed from the dopplers.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::Instant;
use weir_auth::{Authorizer, Gate};
use weir_flow::LogContext;
use weir_log_cache_store::{Maintainer, Store};
use weir_net::{GrpcServer, RawServer, Target, listen, serve_http, serve_http_within};
use weir_rpc::subscriber::Dopplers;
use weir_service::Shutdown;
use weir_tls::{ClientTls, ServerTls};

use crate::answers::Answers;
use crate::gateway::Gateway;
use crate::intake::Intake;
use crate::proxy::Proxy;
use crate::reading::Reader;
use crate::{Config, Error, grpc, metrics};

/// The largest gRPC message that the log cache accepts, in bytes.
const MAX_MESSAGE: usize = 50 << 20;

/// A log cache with open ports.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    gateway_listener: TcpListener,
    sql_listener: TcpListener,
    proxy_listener: Option<TcpListener>,
    addresses: Addresses,
    tls: ServerTls,
    public_tls: ServerTls,
    client_tls: ClientTls,
    authorizer: Arc<dyn Authorizer>,
    config: Config,
    context: LogContext,
}

/// The addresses on which a log cache listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The address for gRPC.
    pub grpc: SocketAddr,
    /// The address for REST requests of clients with a certificate.
    pub gateway: SocketAddr,
    /// The address for SQL over HTTP, for clients with a token.
    pub sql: SocketAddr,
    /// The address for REST requests of clients with a token, if it is configured.
    pub proxy: Option<SocketAddr>,
}

impl Server {
    /// Reads the certificates and the token file, opens the ports, and begins to fetch UAA's keys.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, Error> {
        let authorizer = Gate::open(&config.sql.token_file, config.uaa.as_ref(), &config.identity, &context)?;
        Self::with_authorizer(config, context, authorizer).await
    }

    /// Reads the certificates and opens the ports of a log cache whose callers are checked by `authorizer`. The
    /// configured token file and UAA are not used.
    pub async fn with_authorizer(
        config: Config,
        context: LogContext,
        authorizer: Arc<dyn Authorizer>,
    ) -> Result<Self, Error> {
        let tls = ServerTls::mutual(&config.identity)?;
        let public_tls = ServerTls::public_knowing(&config.identity)?;
        let client_tls = ClientTls::mutual(&config.identity)?;
        let (listener, grpc) = listen(config.listen.socket()).await?;
        let (gateway_listener, gateway) = listen(config.gateway_listen.socket()).await?;
        let (sql_listener, sql) = listen(config.sql.listen.socket()).await?;
        let (proxy_listener, proxy) = match config.proxy_listen {
            Some(address) => {
                let (listener, bound) = listen(address.socket()).await?;
                (Some(listener), Some(bound))
            }
            None => (None, None),
        };
        let addresses = Addresses {
            grpc,
            gateway,
            sql,
            proxy,
        };
        Ok(Self {
            listener,
            gateway_listener,
            sql_listener,
            proxy_listener,
            addresses,
            tls,
            public_tls,
            client_tls,
            authorizer,
            config,
            context,
        })
    }

    /// The address on which the log cache listens for gRPC.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addresses.grpc
    }

    /// The addresses of all ports.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until shutdown is requested.
    pub async fn run(self) -> Result<(), Error> {
        let Self { context, config, .. } = &self;
        let started = Instant::now();
        let port = config.port;
        let store = Store::new(config.limits);
        // The maintainer merges chunks and makes room on a thread of its own, which ends when it is dropped.
        let maintainer = Maintainer::start(&store).map_err(Error::Thread)?;
        let reader = Reader::new(store.clone());
        metrics::register(&context.meter(), &context.ledger, &store, &reader, started);
        let intake = Intake::new(store.clone(), Arc::clone(&context.ledger));

        // Subscriptions outlive the request to stop, so that the envelopes which were stored before it are
        // acknowledged.
        let (stop_subscriptions, subscriptions_stop) = Shutdown::new();
        let dopplers = Dopplers::new(&self.targets(), &context.ledger, &subscriptions_stop, &context.tasks);
        let feed = intake.clone().feed(dopplers, context.shutdown.clone());
        let feeding = context.tasks.spawn("feed from dopplers", feed);

        let answers: Arc<Answers> = Arc::default();
        let sql = self.sql(&store, &answers)?;
        let (shutdown, tasks) = (context.shutdown.clone(), context.tasks.clone());
        let serve_sql = serve_http_within(port, self.sql_listener, &self.public_tls, sql, shutdown.clone(), &tasks);
        let gateway = Gateway {
            reader: Arc::clone(&reader),
            answers,
            started,
        };
        let proxy = Proxy {
            gateway: gateway.clone(),
            authorizer: Arc::clone(&self.authorizer),
        };
        let serve_proxy = async {
            if let Some(listener) = self.proxy_listener {
                let (tls, shutdown) = (&self.public_tls, shutdown.clone());
                serve_http_within(port, listener, tls, proxy.router(), shutdown, &tasks).await;
            }
        };
        let router = gateway.router();
        let serve_gateway = serve_http(self.gateway_listener, &self.tls, router, shutdown.clone(), &tasks);
        let serve_grpc = GrpcServer::new(self.tls.clone())
            .add(RawServer::new(
                Arc::new(grpc::Ingress {
                    intake,
                    tasks: tasks.clone(),
                }),
                MAX_MESSAGE,
            ))
            .add(RawServer::new(Arc::new(grpc::Egress { reader }), MAX_MESSAGE))
            .add(RawServer::new(Arc::new(grpc::PromQl), MAX_MESSAGE))
            .serve(self.listener, shutdown.clone(), &tasks);
        let (grpc_served, (), (), ()) = tokio::join!(serve_grpc, serve_gateway, serve_sql, serve_proxy);
        // The feed ends when shutdown is requested. A panic of it is reported by the list of tasks.
        drop(feeding.await);
        stop_subscriptions.fire();
        drop(maintainer);
        Ok(grpc_served?)
    }

    /// The SQL interface. This starts the query engine.
    #[cfg(feature = "sql")]
    fn sql(&self, store: &Store, answers: &Arc<Answers>) -> Result<Router, Error> {
        let (authorizer, shutdown) = (Arc::clone(&self.authorizer), self.context.shutdown.clone());
        let sql = crate::sql::Sql::start(store, &self.config.sql, authorizer, Arc::clone(answers), shutdown)?;
        Ok(sql.router())
    }

    /// The SQL interface of a build without a query engine.
    #[cfg(not(feature = "sql"))]
    fn sql(&self, _: &Store, _: &Arc<Answers>) -> Result<Router, Error> {
        Ok(crate::no_sql::router())
    }

    /// The dopplers to subscribe to.
    fn targets(&self) -> Vec<Target> {
        let target = |address: &weir_config::PeerAddr| Target {
            address: address.to_string(),
            server_name: "doppler".to_owned(),
            tls: self.client_tls.clone(),
        };
        self.config.dopplers.iter().map(target).collect()
    }
}
