//! The agent as a component.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use weir_agents_lib::{Face, Ingress, OriginMappings};
use weir_drain::{BindingId, Settings};
use weir_flow::LogContext;
use weir_net::{Target, listen};
use weir_service::Shutdown;
use weir_telemetry::quiet;
use weir_tls::{ClientTls, ServerTls, Trust};

use crate::bindings::{Lists, Manager};
use crate::config::Config;
use crate::drain::Env;
use crate::drain::queue::Memory;
use crate::error::Error;
use crate::http;
use crate::metrics::{self, Refreshes};
use crate::registry::Registry;
use crate::reporting::Reporter;
use crate::routing::Router;
use crate::spill::Budget;

/// The name that an agent's certificate carries (logging §1).
const AGENT: &str = "metron";

/// What lies beyond the deadline of the drains when the agent stops: writing to disk.
const PUTTING_AWAY: Duration = Duration::from_secs(10);

/// An agent that listens.
#[derive(Debug)]
pub struct Server {
    face: Face,
    status: TcpListener,
    status_address: SocketAddr,
    status_tls: ServerTls,
    client_tls: ClientTls,
    settings: Settings,
    config: Config,
    context: LogContext,
    /// Held as long as the agent runs.
    lock: Option<File>,
}

impl Server {
    /// Reads the certificates, opens the ports and takes the state directory.
    ///
    /// # Errors
    /// When the certificates cannot be used, a port cannot be had, or another agent uses the directory.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, Error> {
        let lock = lock(&config.state_dir)?;
        let client_tls = ClientTls::mutual(&config.identity)?;
        let trust = Trust::system(config.trusted_ca.as_deref())?;
        let settings = Settings {
            dial_timeout: config.drains.dial_timeout.get(),
            write_timeout: config.drains.write_timeout.get(),
            http_timeout: config.drains.http_timeout.get(),
            addresses: config.drains.blocked_addresses.clone(),
            cipher_suites: config.cipher_suites.clone(),
            skip_verify: config.drains.skip_cert_verify,
            ..Settings::new(trust)
        };
        let face = Face::bind(config.listen, &config.identity).await?;
        let status_tls = ServerTls::mutual(&config.identity)?;
        let (status, status_address) = listen(config.status_listen.socket()).await?;
        Ok(Self {
            face,
            status,
            status_address,
            status_tls,
            client_tls,
            settings,
            config,
            context,
            lock,
        })
    }

    /// Where it listens for envelopes.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.face.local_addr()
    }

    /// Where it tells how the drains are doing.
    #[must_use]
    pub const fn status_addr(&self) -> SocketAddr {
        self.status_address
    }

    /// Serves until shutdown is requested: then producers' streams end, what waits leaves or goes to disk, and developers
    /// are told for the last time.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            face,
            status,
            status_tls,
            client_tls,
            settings,
            config,
            context,
            lock,
            ..
        } = self;
        let meter = context.meter();
        let spill = config.state_dir.join("spill");
        let found = found(&spill);
        let env = Arc::new(Env {
            terms: config.terms,
            settings,
            tasks: context.tasks.clone(),
            clock: context.clock.clone(),
            ledger: Arc::clone(&context.ledger),
            memory: Memory::new(config.memory.total.as_usize()),
            budget: Budget::new(config.spill.total.bytes()),
            spill,
            in_flight_bytes: AtomicUsize::new(0),
            max_in_flight_bytes: config.memory.total.as_usize(),
            status_changed: Notify::new(),
            routed: AtomicU64::new(0),
        });
        let registry = Arc::<Registry>::default();
        let refreshes = Arc::<Refreshes>::default();
        let (routed, counted) = (Arc::clone(&env), Arc::clone(&registry));
        metrics::register(
            &meter,
            &context.ledger,
            &refreshes,
            move || routed.routed.load(Ordering::Relaxed),
            move || counted.counts(),
        );
        let router = Arc::new(Router::new(&env, OriginMappings::register(&meter)));
        let manager = Manager::new(&env, &router, &registry, config.per_app_limit, found);
        let mut lists = Lists::new(
            manager,
            config.cache.as_ref(),
            config.aggregates.clone(),
            config.state_dir.clone(),
            &refreshes,
            &context.tasks,
        )?;

        // Each stage stops after the one before it.
        let (teller_go, teller_stop) = Shutdown::new();
        let reporting = config.agent.as_ref().map(|address| {
            let target = Target {
                address: address.to_string(),
                server_name: AGENT.to_owned(),
                tls: client_tls,
            };
            let teller = Reporter::new(&env, &registry, config.instance.clone(), &target, &context.tasks);
            // The logs and metrics of this task are not reported: reports about reports would never end.
            context.tasks.spawn("teller", quiet(teller.run(teller_stop)))
        });
        let (tasks, clock, shutdown) = (context.tasks.clone(), context.clock.clone(), context.shutdown.clone());
        let rows = Arc::clone(&registry);
        context.tasks.spawn("status", async move {
            http::serve(status, &status_tls, rows, clock, shutdown, &tasks).await;
        });
        lists.begin().await;
        let (lists_go, lists_stop) = Shutdown::new();
        let lists = context.tasks.spawn("bindings", lists.run(lists_stop));

        let ingress = Ingress::new(
            move |parcel| router.route(parcel),
            Arc::clone(&context.ledger),
            context.shutdown.clone(),
        );
        let served = face.serve(ingress, &context).await;

        lists_go.fire();
        if let Ok(manager) = lists.await {
            let by = env.clock.instant() + env.terms.drain;
            let stopped = tokio::time::timeout(env.terms.drain + PUTTING_AWAY, manager.stop(by));
            if stopped.await.is_err() {
                tracing::error!("what waits could not be put on disk in time");
            }
        }
        teller_go.fire();
        if let Some(reporting) = reporting {
            // A panic there is the tasks' to report.
            drop(reporting.await);
        }
        drop(lock);
        Ok(served?)
    }
}

/// Takes the state directory for this agent alone. One that cannot be written to is no reason not to run: drains that are
/// there get their lines all the same.
fn lock(dir: &Path) -> Result<Option<File>, Error> {
    let locked = weir_files::make_directory(dir).and_then(|()| weir_files::try_lock(&dir.join("syslog-agent.lock")));
    match locked {
        Ok(Some(file)) => Ok(Some(file)),
        Ok(None) => Err(Error::InUse { path: dir.to_owned() }),
        Err(error) => {
            tracing::error!(
                dir = %dir.display(),
                %error,
                "state directory cannot be locked or written to: the backlog of drains may be kept in memory only"
            );
            Ok(None)
        }
    }
}

/// The backlogs of before the start.
fn found(spill: &PathBuf) -> BTreeSet<BindingId> {
    let Ok(folders) = fs::read_dir(spill) else {
        return BTreeSet::new();
    };
    let names = folders.filter_map(|folder| folder.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}
