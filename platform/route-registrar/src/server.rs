//! The registrar as a component.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::FutureExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_nats_client::{NatsClient, subjects};
use weir_net::{PortLimits, listen, serve_http_within};
use weir_service::{Context, Shutdown, Tasks};
use weir_tls::ServerTls;

use crate::announce::{Announcer, TcpAnnouncer};
use crate::files::Files;
use crate::keeping::Shared;
use crate::registrar::{Registrar, Shown, Wanted};
use crate::route::Route;
use crate::{Config, Error};

/// How long the first registrations wait for a connection to NATS.
const FIRST: Duration = Duration::from_secs(5);

/// The time between two occasions at which all routes are registered out of their turn.
const PAUSE: Duration = Duration::from_millis(200);

/// A registrar that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    nats: Option<NatsClient>,
    tcp: Option<TcpAnnouncer>,
    config: Config,
    context: Context,
}

impl Server {
    /// Reads the certificates and opens the port. NATS may come later.
    ///
    /// # Errors
    /// When certificates or the password of NATS cannot be used, or the port cannot be had.
    pub async fn bind(config: Config, context: Context) -> Result<Self, Error> {
        let tls = ServerTls::mutual(&config.identity)?;
        let nats = match &config.nats {
            None => None,
            Some(settings) => Some(NatsClient::connect(settings, context.component).await?),
        };
        let tcp = match &config.tcp {
            None => None,
            Some(settings) => Some(TcpAnnouncer::new(settings, config.max_ttl.get())?),
        };
        let (listener, address) = listen(config.listen.socket()).await?;
        Ok(Self {
            listener,
            address,
            tls,
            nats,
            tcp,
            config,
            context,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Keeps the routes until shutdown is requested, and then unregisters them.
    ///
    /// # Errors
    /// None by now.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            nats,
            tcp,
            config,
            context,
            ..
        } = self;
        let (shutdown, tasks) = (&context.shutdown, &context.tasks);
        let wake = match &nats {
            Some(nats) => wake_by(nats.clone(), shutdown, tasks),
            None => watch::channel(0).1,
        };
        let shared = Shared {
            announce: Arc::new(Announcer::new(nats.clone(), tcp, &config.availability_zone)),
            unregistration_limit: config.unregistration_message_limit,
            wake,
            clock: context.clock.clone(),
        };
        let registrar = Registrar::new(shared, tasks);
        let limits = PortLimits::of(config.max_connections);
        let router = router(registrar.shown());
        let (serving, served) = (shutdown.clone(), tasks.clone());
        tasks.spawn("serve state", async move {
            serve_http_within(limits, listener, &tls, router, serving, &served).await;
        });
        if let Some(nats) = &nats {
            let mut state = nats.state();
            let connected = tokio::time::timeout(FIRST, state.wait_for(|state| state.is_connected()));
            // Whether or not it came: without it, routes are shown as failed, and told later.
            drop(shutdown.unless_requested(connected).await);
        }
        let wanted = wanted(config, &context);
        registrar.run(wanted, shutdown).await;
        if let Some(nats) = nats {
            nats.close().await;
        }
        Ok(())
    }
}

/// Wakes all routes when a router starts, and when the connection to NATS is new: a router that missed registrations knows
/// the routes at once, and not after an interval.
fn wake_by(nats: NatsClient, shutdown: &Shutdown, tasks: &Tasks) -> watch::Receiver<u64> {
    let (sender, wake) = watch::channel(0);
    let shutdown = shutdown.clone();
    tasks.spawn("wake routes", async move {
        let mut state = nats.state();
        let mut routers = match nats.subscribe(subjects::START, None).await {
            Ok(routers) => routers,
            Err(error) => {
                tracing::warn!(error = %weir_error::chain(&error), "starts of routers are not seen");
                return;
            }
        };
        let waking = async {
            loop {
                tokio::select! {
                    Some(_) = routers.next() => {}
                    Ok(()) = state.changed() => if !state.borrow_and_update().is_connected() {
                        continue;
                    },
                    else => return,
                }
                // Many routers may start together, and each time every program is asked.
                while routers.next().now_or_never().flatten().is_some() {}
                sender.send_modify(|times| *times += 1);
                tokio::time::sleep(PAUSE).await;
            }
        };
        shutdown.unless_requested(waking).await;
    });
    wake
}

/// The routes of the configuration and those of files, which are looked for until shutdown is requested.
fn wanted(config: Config, context: &Context) -> watch::Receiver<Wanted> {
    let merged = |fixed: &[Arc<Route>], files: &Files| Wanted {
        routes: fixed
            .iter()
            .map(|route| (Arc::clone(route), None))
            .chain(files.routes())
            .collect(),
        files: files.status(),
    };
    let patterns = config.dynamic_config_globs.clone();
    let has_files = !patterns.is_empty();
    let mut files = Files::new(patterns, config.defaults());
    let (interval, fixed) = (config.dynamic_config_interval.get(), config.fixed);
    let (sender, wanted) = watch::channel(merged(&fixed, &files));
    if !has_files {
        return wanted;
    }
    let (shutdown, tasks) = (context.shutdown.clone(), context.tasks.clone());
    context.tasks.spawn("look for route files", async move {
        loop {
            let looking = tasks.spawn_blocking("look at route files", move || {
                let changed = files.look();
                (files, changed)
            });
            // If it panicked, the list of tasks reports it, and the registrar stops.
            let Ok((seen, changed)) = looking.await else { return };
            files = seen;
            if changed {
                sender.send_replace(merged(&fixed, &files));
            }
            if shutdown.unless_requested(tokio::time::sleep(interval)).await.is_none() {
                return;
            }
        }
    });
    wanted
}

/// The interface: the state of all routes.
fn router(shown: Shown) -> Router {
    Router::new().route("/v1/routes", get(state)).with_state(shown)
}

async fn state(State(shown): State<Shown>) -> Response {
    let status = shown.lock().status();
    axum::Json(status).into_response()
}
