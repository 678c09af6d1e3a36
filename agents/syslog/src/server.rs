//! The syslog agent as a component: its ports, and the order in which its parts start and stop.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use weir_agents_lib::{Ingress, IngressPort, OriginMappings};
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

/// How long a stopping agent may take to write the backlog of drains to disk, after the deadline of the drains.
const SPILL_DEADLINE: Duration = Duration::from_secs(10);

/// A syslog agent with open ports.
#[derive(Debug)]
pub struct Server {
    port: IngressPort,
    status: TcpListener,
    status_address: SocketAddr,
    status_tls: ServerTls,
    client_tls: ClientTls,
    settings: Settings,
    config: Config,
    context: LogContext,
    /// The lock of the state directory. `None` if the directory cannot be written.
    lock: Option<File>,
}

impl Server {
    /// Locks the state directory, reads the certificates, and opens the ports.
    ///
    /// # Errors
    /// When a certificate cannot be used, a port cannot be opened, or another agent uses the directory.
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
        let port = IngressPort::bind(config.listen, &config.identity).await?;
        let status_tls = ServerTls::mutual(&config.identity)?;
        let (status, status_address) = listen(config.status_listen.socket()).await?;
        Ok(Self {
            port,
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

    /// The address on which the agent receives envelopes.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.port.local_addr()
    }

    /// The address at which the state of the drains can be read.
    #[must_use]
    pub const fn status_addr(&self) -> SocketAddr {
        self.status_address
    }

    /// Serves until shutdown is requested. Then the streams of producers end, the backlog of the drains is sent or
    /// written to disk, and the last reports about the drains are sent to the apps.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            port,
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
        let spilled = spilled_bindings(&spill);
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
        let manager = Manager::new(&env, &router, &registry, config.per_app_limit, spilled);
        let mut lists = Lists::new(
            manager,
            config.cache.as_ref(),
            config.aggregates.clone(),
            config.state_dir.clone(),
            &refreshes,
            &context.tasks,
        )?;

        // The parts stop one after the other, so each has a shutdown of its own: first the port, then the lists with
        // the drains, and the reporter last, because the drains still report while they stop.
        let (stop_reporter, reporter_stop) = Shutdown::new();
        let reporting = config.agent.as_ref().map(|address| {
            let target = Target {
                address: address.to_string(),
                server_name: AGENT.to_owned(),
                tls: client_tls,
            };
            let reporter = Reporter::new(&env, &registry, config.instance.clone(), &target, &context.tasks);
            // The logs and metrics of this task are not reported: reports about reports would never end.
            context.tasks.spawn("reporter", quiet(reporter.run(reporter_stop)))
        });
        let (tasks, clock, shutdown) = (context.tasks.clone(), context.clock.clone(), context.shutdown.clone());
        let rows = Arc::clone(&registry);
        context.tasks.spawn("status", async move {
            http::serve(status, &status_tls, rows, clock, shutdown, &tasks).await;
        });
        // The first lists are read before the port is served: without bindings, the first envelopes would have no
        // drain.
        lists.begin().await;
        let (stop_lists, lists_stop) = Shutdown::new();
        let lists = context.tasks.spawn("bindings", lists.run(lists_stop));

        let ingress = Ingress::new(
            move |parcel| router.route(parcel),
            Arc::clone(&context.ledger),
            context.shutdown.clone(),
        );
        let served = port.serve(ingress, &context).await;

        stop_lists.fire();
        if let Ok(manager) = lists.await {
            let by = env.clock.instant() + env.terms.drain;
            let stopped = tokio::time::timeout(env.terms.drain + SPILL_DEADLINE, manager.stop(by));
            if stopped.await.is_err() {
                tracing::error!("the backlog of drains could not be written to disk in time");
            }
        }
        stop_reporter.fire();
        if let Some(reporting) = reporting {
            // A panic of the task is reported by the list of tasks.
            drop(reporting.await);
        }
        // Another agent may use the directory from here on.
        drop(lock);
        Ok(served?)
    }
}

/// Locks the state directory for this agent. A directory that cannot be written is not an error, because drains that
/// are reachable get their lines without it.
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

/// The bindings that have a backlog on disk from before the start.
fn spilled_bindings(spill: &PathBuf) -> BTreeSet<BindingId> {
    let Ok(folders) = fs::read_dir(spill) else {
        return BTreeSet::new();
    };
    let names = folders.filter_map(|folder| folder.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}
