//! The TCP router as a component.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tower::service_fn;
use weir_config::PeerAddr;
use weir_flow::LogContext;
use weir_net::{PortLimits, SharedPlaces, Target, listen, serve_plain_http};
use weir_routing_api_client::RoutingApi;
use weir_service::{Health, Shutdown};
use weir_tls::ClientTls;

use crate::config::{RawBackendTls, RawTelemetry};
use crate::ports::Ports;
use crate::relay::Pipes;
use crate::router::{Router, Times};
use crate::sessions::Sessions;
use crate::source::Source;
use crate::stats::Stats;
use crate::{Config, Error, health};

/// Most connections for health checks.
const HEALTH_CONNECTIONS: usize = 64;

/// A TCP router that answers health checks. External ports are opened when routes are known.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<ClientTls>,
    api: Option<RoutingApi>,
    agent: Option<Target>,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and opens the port for health checks.
    ///
    /// # Errors
    /// When a file cannot be used or the port cannot be had.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, Error> {
        let tls = backend_tls(&config.backend_tls)?;
        let agent = agent(&config.telemetry)?;
        let api = config.api.as_ref().map(RoutingApi::new).transpose()?;
        let (listener, address) = listen(config.health.socket()).await?;
        Ok(Self {
            listener,
            address,
            tls,
            api,
            agent,
            config,
            context,
        })
    }

    /// Where health checks are answered.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested. Then health checks fail while connections are still accepted, so that a load
    /// balancer turns away; after that the ports are closed, and connections may end by themselves before they are cut.
    ///
    /// # Errors
    /// Never.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            api,
            agent,
            config,
            context,
            ..
        } = self;
        let router = Arc::new(Router {
            tls,
            pipes: Pipes::new(config.limits.pipes),
            times: Times {
                connect: config.timeouts.connect.get(),
                idle: config.timeouts.idle.get(),
                hello: config.timeouts.client_hello.get(),
            },
            expected: config.proxy_protocol.accept,
            announced: config.proxy_protocol.send.version(),
            sessions: Sessions::default(),
            stats: Stats::new(&context.meter()),
            telemetry: agent.map(|agent| {
                let index = config.telemetry.index.clone();
                weir_applog::Connections::start(index, &agent, &context)
            }),
            clock: context.clock.clone(),
        });
        let part = context.health.part("routes");
        let (stop_answering, answers) = Shutdown::new();
        answer_health(listener, context.health.clone(), answers, &context);
        let places = SharedPlaces::new(config.limits.connections, config.connections_per_address());
        let ports = Ports::new(
            config.host,
            config.reserved_ports.clone(),
            places,
            Arc::clone(&router),
            context.tasks.clone(),
        );
        let (stop, stopped) = Shutdown::new();
        let following = api.map(|api| {
            let mut source = Source::new(api, &config, ports, &context, part.clone());
            context.tasks.spawn("routes", async move {
                stopped.unless_requested(Box::pin(source.follow())).await;
                source.close();
            })
        });
        if following.is_none() {
            tracing::warn!("no routing API is configured, so there are no routes");
        }
        context.shutdown.requested().await;
        part.draining();
        sleep(config.timeouts.drain_wait.get()).await;
        stop.fire();
        if let Some(following) = following {
            // It fails only if it panicked, which the tasks have told.
            following.await.ok();
        }
        if timeout(config.timeouts.drain.get(), router.sessions.all_ended())
            .await
            .is_err()
        {
            let count = router.sessions.cut_all();
            tracing::warn!(count, "connections are cut at the drain deadline");
            router.sessions.all_ended().await;
        }
        if let Some(telemetry) = &router.telemetry {
            telemetry.finish().await;
        }
        stop_answering.fire();
        Ok(())
    }
}

fn backend_tls(raw: &RawBackendTls) -> Result<Option<ClientTls>, Error> {
    let tls = match raw.identity() {
        _ if !raw.is_enabled() => return Ok(None),
        Some(identity) => ClientTls::mutual(&identity)?,
        None => ClientTls::trusting(&raw.ca)?,
    };
    // What clients and backends agree on is theirs.
    Ok(Some(tls.with_alpn(&[])))
}

fn agent(raw: &RawTelemetry) -> Result<Option<Target>, Error> {
    let target = |agent: &PeerAddr| {
        Ok(Target {
            address: agent.to_string(),
            server_name: raw.agent_name.clone(),
            tls: ClientTls::mutual(&raw.identity)?,
        })
    };
    raw.agent.as_ref().map(target).transpose()
}

fn answer_health(listener: TcpListener, health: Health, shutdown: Shutdown, context: &LogContext) {
    let tasks = context.tasks.clone();
    context.tasks.spawn("health checks", async move {
        let service = service_fn(move |request| {
            let answer = health::answer(&request, &health);
            async move { answer }
        });
        serve_plain_http(PortLimits::of(HEALTH_CONNECTIONS), listener, service, shutdown, &tasks).await;
    });
}
