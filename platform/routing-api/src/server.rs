//! The routing API as a server: one of several instances serves, and the others wait for its lock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;
use weir_auth::{Authorizer, Gate, Quota, Verifier};
use weir_db::{Database, DbError};
use weir_error::chain;
use weir_routing_api_client::models::{Route, TcpRoute};
use weir_service::{Context, Shutdown};
use weir_tls::ServerTls;

use crate::http::{App, GroupLocks, Inner};
use crate::leader::{Leader, Lease};
use crate::metrics::Metrics;
use crate::ports::Ports;
use crate::routes::Routes;
use crate::store::{self, Groups, new_guid};
use crate::{Config, Error, own_route};

/// How often routes whose time is over are removed.
const SWEEP: Duration = Duration::from_secs(10);

/// A routing API that listens, or waits for its turn.
#[derive(Debug)]
pub struct Server {
    /// The ports; `None` while another instance serves.
    ports: Option<Ports>,
    address: SocketAddr,
    tls: ServerTls,
    instance: Instance,
}

/// What outlives a turn.
#[derive(Debug)]
struct Instance {
    config: Config,
    context: Context,
    db: Database,
    authorizer: Option<Arc<dyn Authorizer>>,
    leader: Arc<dyn Leader>,
    http: Routes<Route>,
    tcp: Routes<TcpRoute>,
    locks: Arc<GroupLocks>,
    metrics: Metrics,
}

impl Server {
    /// Opens the database and begins to fetch UAA's keys; opens the port if no other instance serves.
    ///
    /// # Errors
    /// When a certificate, the database, UAA's CA or the port cannot be used.
    pub async fn bind(config: Config, context: Context) -> Result<Self, Error> {
        if config.disable_access_control {
            tracing::warn!("every request is taken, whatever its token");
            return Self::open(config, context, None, None).await;
        }
        let gate = Gate::open(&config.token_file, config.uaa.as_ref(), &config.identity, &context)?;
        let verifier = gate.verifier().cloned();
        Self::with_authorizer(config, context, gate, verifier.as_ref()).await
    }

    /// Opens the database and the port as [`Server::bind`] does, with another authorizer: neither the token file nor UAA is
    /// looked at. `verifier` is only asked for its figures.
    ///
    /// # Errors
    /// When a certificate, the database or the port cannot be used.
    pub async fn with_authorizer(
        config: Config,
        context: Context,
        authorizer: Arc<dyn Authorizer>,
        verifier: Option<&Arc<Verifier>>,
    ) -> Result<Self, Error> {
        Self::open(config, context, Some(authorizer), verifier).await
    }

    async fn open(
        config: Config,
        context: Context,
        authorizer: Option<Arc<dyn Authorizer>>,
        verifier: Option<&Arc<Verifier>>,
    ) -> Result<Self, Error> {
        let tls = ServerTls::mutual(&config.identity)?;
        let db = store::open(&config.database).await?;
        let (clock, tasks) = (&context.clock, &context.tasks);
        let instance = Instance {
            leader: Arc::new(Lease::new(
                db.clone(),
                clock.clone(),
                &config.lock.instance,
                config.lock.ttl.get(),
            )),
            http: Routes::new(db.clone(), clock.clone(), tasks.clone()),
            tcp: Routes::new(db.clone(), clock.clone(), tasks.clone()),
            locks: Arc::default(),
            metrics: Metrics::default(),
            db,
            authorizer,
            config,
            context,
        };
        let (http, tcp) = (&instance.http.hub, &instance.tcp.hub);
        instance
            .metrics
            .register(&instance.context.meter(), http, tcp, verifier);
        let mut server = Self {
            ports: None,
            address: instance.config.listen.socket(),
            tls,
            instance,
        };
        if server.instance.leader.take().await {
            server.listen().await?;
        } else {
            tracing::info!("another instance serves; this one waits for the lock");
        }
        Ok(server)
    }

    /// Where it listens, or will.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Whether it serves, and does not wait for another instance.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.ports.is_some()
    }

    async fn listen(&mut self) -> Result<(), Error> {
        self.instance.seed().await?;
        let ports = Ports::open(&self.instance.config, self.address).await?;
        self.address = ports.address;
        self.ports = Some(ports);
        Ok(())
    }

    /// Waits until it is this instance's turn, and opens the ports; returns whether it is, and not shutdown that was requested.
    ///
    /// # Errors
    /// When the ports or the database cannot be used when the turn comes.
    pub async fn wait_for_turn(&mut self) -> Result<bool, Error> {
        if self.ports.is_some() {
            return Ok(true);
        }
        let shutdown = self.instance.context.shutdown.clone();
        if shutdown.unless_requested(self.instance.wait_for_turn()).await.is_none() {
            return Ok(false);
        }
        tracing::info!("this instance has the lock and serves");
        self.listen().await?;
        Ok(true)
    }

    /// Serves whenever it is this instance's turn, until shutdown is requested.
    ///
    /// # Errors
    /// When the port or the database cannot be used when the turn comes.
    pub async fn run(mut self) -> Result<(), Error> {
        let shutdown = self.instance.context.shutdown.clone();
        while !shutdown.is_requested() {
            if !self.wait_for_turn().await? {
                break;
            }
            if let Some(ports) = self.ports.take() {
                self.instance.serve(ports, &self.tls).await;
            }
        }
        self.instance.leader.give_up().await;
        self.instance.db.close().await;
        Ok(())
    }
}

impl Instance {
    async fn wait_for_turn(&self) {
        while !self.leader.take().await {
            sleep(self.config.lock.retry.get()).await;
        }
    }

    /// Makes the router groups of the configuration, or takes those of the original from the same database, if there is none.
    async fn seed(&self) -> Result<(), DbError> {
        let mut groups = Groups(&self.db);
        if !groups.all().await?.is_empty() {
            return Ok(());
        }
        let mut first = groups.of_the_original().await?;
        if first.is_empty() {
            first.clone_from(&self.config.router_groups);
        }
        for mut group in first {
            if group.guid.is_empty() {
                group.guid = new_guid();
            }
            let now = self.context.clock.now_nanos() / 1_000_000;
            groups.add(&group, now).await?;
            tracing::info!(name = group.name, ports = %group.reservable_ports, "router group was made");
        }
        Ok(())
    }

    /// Serves one turn: until the lock is lost or shutdown is requested, and then until another instance has the lock, if that
    /// is waited for.
    async fn serve(&self, ports: Ports, tls: &ServerTls) {
        let (end, until) = Shutdown::new();
        let app = App(Arc::new(Inner {
            authorizer: self.authorizer.clone(),
            db: self.db.clone(),
            http: self.http.clone(),
            tcp: self.tcp.clone(),
            locks: Arc::clone(&self.locks),
            max_ttl: self.config.max_ttl(),
            reserved_ports: self.config.reserved_system_component_ports.clone(),
            subscriptions: Arc::new(Semaphore::new(self.config.limits.subscriptions)),
            of_caller: Quota::new(self.config.limits.subscriptions_per_caller),
            metrics: self.metrics.clone(),
            clock: self.context.clock.clone(),
            shutdown: until.clone(),
        }));
        let own_route = own_route::of(&self.config, ports.plain_port);
        let serving = ports.serve(&app, tls, self.config.port, &until, &self.context.tasks);
        let turn = async {
            tokio::select! {
                () = self.leader.lost() => {
                    tracing::warn!("the lock is lost; this instance stops serving");
                }
                () = self.context.shutdown.requested() => self.hand_over().await,
            }
            end.fire();
        };
        let sweeping = until.unless_requested(self.sweep());
        let registering = until.unless_requested(async {
            if let Some(route) = &own_route {
                own_route::keep(&self.http, route).await;
            }
        });
        tokio::join!(serving, turn, sweeping, registering);
        if let Some(route) = &own_route
            && let Err(error) = own_route::remove(&self.http, route).await
        {
            tracing::warn!(error = chain(&error), "own route cannot be removed");
        }
    }

    async fn hand_over(&self) {
        let longest = self.config.lock.handover.get();
        if longest.is_zero() {
            return;
        }
        self.leader.give_up().await;
        let successor = async {
            while !self.leader.has_successor().await {
                sleep(self.config.lock.retry.get()).await;
            }
        };
        if tokio::time::timeout(longest, successor).await.is_err() {
            tracing::info!("no other instance has taken the lock");
        }
    }

    /// Removes what expired, and counts what is there.
    async fn sweep(&self) {
        loop {
            if let Err(error) = self.sweep_once().await {
                tracing::warn!(error = chain(&error), "expired routes cannot be removed");
            }
            sleep(SWEEP).await;
        }
    }

    async fn sweep_once(&self) -> Result<(), DbError> {
        let expired = self.http.expire().await? + self.tcp.expire().await?;
        if expired > 0 {
            tracing::info!(expired, "routes expired");
        }
        self.metrics.routes(self.http.count().await?, self.tcp.count().await?);
        Ok(())
    }
}
