//! The router as a component: its ports, its start and its end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use weir_flow::LogContext;
use weir_net::{Connections, listen};
use weir_platform_gorouter_table::Registry;
use weir_service::{Shutdown, Trigger, clock};
use weir_tls::{ALPN_H2, ALPN_HTTP1, ClientTls, ServerTls};

use crate::backend::{BackendTls, Backends};
use crate::front::Front;
use crate::health::RouterHealth;
use crate::router::Router;
use crate::telemetry::Told;
use crate::{Config, Error};

/// A router that listens.
#[derive(Debug)]
pub struct Server {
    plain: Option<(TcpListener, SocketAddr)>,
    tls: Option<(TcpListener, SocketAddr, ServerTls)>,
    front: Arc<Front>,
    router: Arc<Router>,
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
        let tls = match (&config.listen_tls, config.certificates.first()) {
            (Some(address), Some(first)) => {
                let tls = ServerTls::public(&first.cert, &first.key)?;
                let tls = match config.backends.http2 {
                    true => tls.with_alpn(&[ALPN_H2, ALPN_HTTP1]),
                    false => tls.with_alpn(&[ALPN_HTTP1]),
                };
                let (listener, address) = listen(address.socket()).await?;
                Some((listener, address, tls))
            }
            _ => None,
        };
        let (cut, cut_requested) = Shutdown::new();
        let identity = ClientTls::mutual(&config.identity)?;
        let backends = Backends::new(config.connections, BackendTls::new(&identity), context.tasks.clone());
        let router = Arc::new(Router {
            registry: Arc::new(Registry::new(config.table_settings.clone(), clock::instant())),
            backends: Arc::new(backends),
            settings: config.settings.clone(),
            health: RouterHealth::default(),
            told: Told::new(&context.meter()),
            tasks: context.tasks.clone(),
            cut: cut_requested,
        });
        let head = config.limits.request_head.as_usize() + HEAD_SLACK;
        let front = Arc::new(Front::new(Arc::clone(&router), config.patience, head));
        Ok(Self {
            plain,
            tls,
            front,
            router,
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
        let Self {
            plain,
            tls,
            front,
            router,
            cut,
            config,
            context,
        } = self;
        let (closed, closing) = Shutdown::new();
        let ports = [
            plain
                .map(|(listener, _)| Connections::accept_plain(listener, config.port, closing.clone(), &context.tasks)),
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
        context.shutdown.requested().await;
        router.health.draining();
        let times = config.timeouts;
        tracing::info!(wait = ?times.drain_wait.get(), timeout = ?times.drain.get(), "gorouter-draining");
        tokio::time::sleep(times.drain_wait.get()).await;
        closed.fire();
        let drained = futures::future::join_all(serving);
        if tokio::time::timeout(times.drain.get(), drained).await.is_err() {
            tracing::warn!("router.drain.timed-out");
        }
        cut.fire();
        Ok(())
    }
}

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
