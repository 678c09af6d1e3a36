//! The router as a component: its ports, its start and its end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_flow::LogContext;
use weir_nats_client::{ConnectionState, NatsClient};
use weir_net::{Connections, PortLimits, Target, listen};
use weir_platform_gorouter_table::Registry;
use weir_service::{Part, Shutdown, Trigger, clock};
use weir_tls::{ALPN_H2, ALPN_HTTP1, ClientTls, ServerTls};

use crate::backend::Backends;
use crate::front::Front;
use crate::gauges;
use crate::health::RouterHealth;
use crate::outbound;
use crate::registrations::{Registrations, prune};
use crate::route_service::{Key, RouteServices};
use crate::router::Router;
use crate::status::Status;
use crate::telemetry::Told;
use crate::{Config, Error, RawCertificate};

/// A router that listens.
#[derive(Debug)]
pub struct Server {
    plain: Option<(TcpListener, SocketAddr)>,
    internal: Option<TcpListener>,
    tls: Option<(TcpListener, SocketAddr, ServerTls)>,
    status: Option<(TcpListener, SocketAddr)>,
    routes: Option<(TcpListener, SocketAddr)>,
    front: Arc<Front>,
    router: Arc<Router>,
    nats: NatsClient,
    health: Part,
    /// Ends tunnels.
    cut: Trigger,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and opens the ports.
    ///
    /// # Errors
    /// When a file cannot be used or a port cannot be had.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, Error> {
        let plain = match &config.listen {
            Some(address) => Some(listen(address.socket()).await?),
            None => None,
        };
        let tls = match &config.listen_tls {
            Some(address) => {
                let pairs: Vec<_> = config.certificates.iter().map(RawCertificate::pair).collect();
                let tls = ServerTls::by_name(&pairs, config.client_certificates())?;
                let tls = match config.backends.http2 {
                    true => tls.with_alpn(&[ALPN_H2, ALPN_HTTP1]),
                    false => tls.with_alpn(&[ALPN_HTTP1]),
                };
                let (listener, address) = listen(address.socket()).await?;
                Some((listener, address, tls))
            }
            None => None,
        };
        let status = match &config.status {
            Some(address) => Some(listen(address.socket()).await?),
            None => None,
        };
        let routes = match &config.routes {
            Some(address) => Some(listen(address.socket()).await?),
            None => None,
        };
        let nats = NatsClient::connect(&config.nats, "gorouter").await?;
        let (cut, cut_requested) = Shutdown::new();
        let identity = config.identity.as_ref().map(ClientTls::mutual).transpose()?;
        let tls_to_backends = outbound::to_backends(&config, identity.as_ref())?;
        let to_services = outbound::to_services(&config)?;
        let backends = Backends::new(config.connections, tls_to_backends, to_services, context.tasks.clone());
        let internal = match &config.route_services.internal {
            Some(address) => Some(listen(address.socket()).await?),
            None => None,
        };
        let agent = config
            .telemetry
            .agent
            .as_ref()
            .zip(identity)
            .map(|(agent, tls)| Target {
                address: agent.to_string(),
                server_name: config.telemetry.agent_name.clone(),
                tls,
            });
        let health = context.health.part("requests");
        let meter = context.meter();
        let told = Told::start(config.telemetry_settings.clone(), agent.as_ref(), &context, &meter)?;
        let router = Arc::new(Router {
            registry: Arc::new(Registry::new(config.table_settings.clone(), clock::instant())),
            backends: Arc::new(backends),
            services: route_services(&config),
            internal: internal.as_ref().map(|(_, address)| *address),
            settings: config.settings.clone(),
            health: RouterHealth::default(),
            told,
            tasks: context.tasks.clone(),
            cut: cut_requested,
        });
        let head = config.limits.request_head.as_usize() + HEAD_SLACK;
        let front = Arc::new(Front::new(Arc::clone(&router), config.patience, head));
        gauges::register(&meter, &router.registry, nats.dropped_counter());
        Ok(Self {
            plain,
            internal: internal.map(|(listener, _)| listener),
            tls,
            status,
            routes,
            front,
            router,
            nats,
            health,
            cut,
            config,
            context,
        })
    }

    /// Where HTTP is served without TLS.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.plain.as_ref().map(|(_, address)| *address)
    }

    /// Where HTTP is served over TLS.
    #[must_use]
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|(_, address, _)| *address)
    }

    /// Where load balancers ask for the router's health.
    #[must_use]
    pub fn status_addr(&self) -> Option<SocketAddr> {
        self.status.as_ref().map(|(_, address)| *address)
    }

    /// Where operators ask for the routes.
    #[must_use]
    pub fn routes_addr(&self) -> Option<SocketAddr> {
        self.routes.as_ref().map(|(_, address)| *address)
    }

    /// Whether NATS can be reached.
    #[must_use]
    pub fn nats_state(&self) -> watch::Receiver<ConnectionState> {
        self.nats.state()
    }

    /// The routes.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.router.registry
    }

    /// Serves until shutdown is requested; then load balancers are told, and what is under way is finished.
    ///
    /// # Errors
    /// None: what can fail has failed before.
    pub async fn run(self) -> Result<(), Error> {
        // Nobody asks for it.
        let (_, at_once) = Shutdown::new();
        self.run_until(at_once).await
    }

    /// Serves as [`Server::run`] does, but does not wait for what is under way once `at_once` is requested, too.
    ///
    /// # Errors
    /// None: what can fail has failed before.
    pub async fn run_until(self, at_once: Shutdown) -> Result<(), Error> {
        let Self {
            plain,
            internal,
            tls,
            status,
            routes,
            front,
            router,
            nats,
            health,
            cut,
            config,
            context,
        } = self;
        follow(&router, nats, &config, &context, &cut.shutdown());
        let of_routes = Status::routes(&config.routes_user, config.routes_password.expose());
        let operators = [status.zip(Some(Status::Health)), routes.zip(Some(of_routes))];
        for ((listener, _), status) in operators.into_iter().flatten() {
            let limits = PortLimits::of(STATUS_CONNECTIONS);
            let connections = Connections::accept_plain(listener, limits, context.shutdown.clone(), &context.tasks);
            let (router, shutdown, tasks) = (Arc::clone(&router), cut.shutdown(), context.tasks.clone());
            context
                .tasks
                .spawn("status port", status.serve(connections, router, shutdown, tasks));
        }
        // Until routes have come, load balancers send their requests to other routers.
        context
            .shutdown
            .unless_requested(tokio::time::sleep(config.table.start_delay.get()))
            .await;
        let (closed, closing) = Shutdown::new();
        let accept_plain = |listener| Connections::accept_plain(listener, config.port, closing.clone(), &context.tasks);
        let ports = [
            plain.map(|(listener, _)| accept_plain(listener)),
            internal.map(accept_plain),
            tls.map(|(listener, _, tls)| {
                Connections::accept(listener, tls, config.port, closing.clone(), &context.tasks)
            }),
        ];
        let serving: Vec<_> = ports
            .into_iter()
            .flatten()
            .map(|connections| {
                let (front, closing, tasks) = (Arc::clone(&front), closing.clone(), context.tasks.clone());
                context
                    .tasks
                    .spawn("port", async move { serve(connections, front, closing, tasks).await })
            })
            .collect();
        let expire = Arc::clone(&router.backends).expire(context.shutdown.clone());
        context.tasks.spawn("idle connections", expire);
        router.health.healthy();
        context
            .shutdown
            .unless_requested(tokio::time::sleep(config.timeouts.healthy_wait.get()))
            .await;
        health.serving();
        context.shutdown.requested().await;
        router.health.draining();
        health.draining();
        let times = config.timeouts;
        tracing::info!(wait = ?times.drain_wait.get(), timeout = ?times.drain.get(), "gorouter-draining");
        at_once
            .unless_requested(tokio::time::sleep(times.drain_wait.get()))
            .await;
        closed.fire();
        let drained = futures::future::join_all(serving);
        let drained = tokio::time::timeout(times.drain.get(), drained);
        if let Some(Err(_)) = at_once.unless_requested(drained).await {
            tracing::warn!("router.drain.timed-out");
        }
        cut.fire();
        router.told.finish().await;
        Ok(())
    }
}

/// How route services are used.
fn route_services(config: &Config) -> RouteServices {
    let raw = &config.route_services;
    let key = |secret: &weir_config::Secret<String>| match secret.expose().as_str() {
        "" => None,
        secret => Some(Key::new(secret)),
    };
    RouteServices {
        key: key(&raw.secret),
        previous: key(&raw.previous_secret),
        timeout: raw.timeout.get(),
        https: raw.recommend_https,
        strict: raw.strict_signatures,
        attempts: raw.max_attempts,
        hairpin: raw.internal.is_some(),
        hairpin_hosts: raw.internal_hosts.clone(),
    }
}

/// Begins to follow registrations, and to prune what is not repeated, until `end`: a router that drains still sends requests to
/// backends.
fn follow(router: &Arc<Router>, nats: NatsClient, config: &Config, context: &LogContext, end: &Shutdown) {
    let registrations = Registrations::new(
        Arc::clone(router),
        nats,
        config.index,
        config.table.register_interval.get(),
        config.table.stale_threshold.get(),
        config.table.keep_without_nats,
    );
    let following = registrations.follow(end.clone());
    context.tasks.spawn_critical("registrations", following);
    let every = config.table.prune_interval.get();
    let pruning = prune(Arc::clone(router), every, end.clone());
    context.tasks.spawn("pruning", pruning);
}

/// Most connections of a port for operators.
const STATUS_CONNECTIONS: usize = 256;

/// Bytes that a head may have beyond what is answered with a text: those above are answered by HTTP itself.
const HEAD_SLACK: usize = 4096;

/// Serves connections of one port until they are closed, and until each has ended.
async fn serve(mut connections: Connections, front: Arc<Front>, closing: Shutdown, tasks: weir_service::Tasks) {
    while let Some(connection) = connections.next().await {
        let (front, closing) = (Arc::clone(&front), closing.clone());
        tasks.spawn("connection", async move { front.serve(connection, closing).await });
    }
    connections.all_closed().await;
}
