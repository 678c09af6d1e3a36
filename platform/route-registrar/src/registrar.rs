//! Compares the routes that are wanted with those that are kept: starts what is new, ends what is gone, and unregisters
//! what no route covers any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use weir_service::{Shutdown, Tasks};

use crate::announce::Announce;
use crate::keeping::{Keeping, Shared, State};
use crate::route::{Kind, Registration, Route};
use crate::status::{FileStatus, RouteStatus, Status};

/// When an unregistration that could not be sent is sent again.
const AGAIN: Duration = Duration::from_secs(5);

/// Messages that are under way at a time, of routes that go.
const AT_A_TIME: usize = 32;

/// How long a registrar that stops tries to unregister its routes.
const LAST_MESSAGES: Duration = Duration::from_secs(10);

/// The routes that are to be kept, and what is wrong with their files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Each route with the file that it comes from, if it does.
    pub(crate) routes: Vec<(Arc<Route>, Option<Arc<str>>)>,
    pub(crate) files: Vec<FileStatus>,
}

/// What the interface shows.
pub(crate) type Shown = Arc<Mutex<Rows>>;

/// The routes that are kept, with the states that their tasks write.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<Row>,
    files: Vec<FileStatus>,
}

#[derive(Debug)]
struct Row {
    route: Arc<Route>,
    file: Option<Arc<str>>,
    state: Arc<Mutex<State>>,
}

/// The routes that are kept.
#[derive(Debug)]
pub(crate) struct Registrar {
    kept: HashMap<Arc<Route>, Keeping>,
    /// Routes that are gone, and could not be unregistered yet.
    owed: Vec<Route>,
    shared: Shared,
    shown: Shown,
    tasks: Tasks,
}

impl Registrar {
    /// A registrar that keeps nothing yet.
    pub(crate) fn new(shared: Shared, tasks: &Tasks) -> Self {
        Self {
            kept: HashMap::new(),
            owed: Vec::new(),
            shared,
            shown: Shown::default(),
            tasks: tasks.clone(),
        }
    }

    /// What the interface shows.
    pub(crate) fn shown(&self) -> Shown {
        Arc::clone(&self.shown)
    }

    /// Keeps what is wanted until shutdown is requested; then unregisters everything.
    pub(crate) async fn run(mut self, mut wanted: watch::Receiver<Wanted>, shutdown: &Shutdown) {
        loop {
            let now = wanted.borrow_and_update().clone();
            self.apply(now).await;
            let changed = async {
                tokio::select! {
                    // Without files nothing is sent, and the channel has ended.
                    Ok(()) = wanted.changed() => {}
                    () = tokio::time::sleep(AGAIN), if !self.owed.is_empty() => {}
                    else => std::future::pending().await,
                }
            };
            if shutdown.unless_requested(changed).await.is_none() {
                break;
            }
        }
        if tokio::time::timeout(LAST_MESSAGES, self.apply(Wanted::default()))
            .await
            .is_err()
        {
            tracing::warn!("not all routes could be unregistered: routers forget them when they become stale");
        }
    }

    async fn apply(&mut self, wanted: Wanted) {
        let routes: HashSet<&Arc<Route>> = wanted.routes.iter().map(|(route, _)| route).collect();
        let gone: Vec<Arc<Route>> = self
            .kept
            .keys()
            .filter(|route| !routes.contains(route))
            .cloned()
            .collect();
        let ended: Vec<Keeping> = gone.iter().filter_map(|route| self.kept.remove(route)).collect();
        ended.iter().for_each(Keeping::ask_to_stop);
        for keeping in ended {
            keeping.stop().await;
        }
        // A route that another one replaces stays registered: the routers know no moment without it.
        let covered: HashSet<Registration> = routes.iter().flat_map(|route| route.registrations()).collect();
        let owed = std::mem::take(&mut self.owed);
        let parts = owed.iter().chain(gone.iter().map(Arc::as_ref));
        let parts: Vec<Route> = parts.filter_map(|route| route.without(&covered)).collect();
        let announce = &self.shared.announce;
        self.owed = futures::stream::iter(parts)
            .map(|part| unregister(announce, part))
            .buffer_unordered(AT_A_TIME)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let mut rows = Vec::with_capacity(wanted.routes.len());
        for (route, file) in wanted.routes {
            let (shared, tasks) = (&self.shared, &self.tasks);
            let keeping = self
                .kept
                .entry(Arc::clone(&route))
                .or_insert_with(|| Keeping::start(Arc::clone(&route), shared.clone(), tasks));
            let state = Arc::clone(&keeping.state);
            rows.push(Row { route, file, state });
        }
        *self.shown.lock() = Rows {
            rows,
            files: wanted.files,
        };
    }
}

/// Unregisters a route that is gone; gives it back if the message could not be sent.
async fn unregister(announce: &Arc<dyn Announce>, route: Route) -> Option<Route> {
    match announce.unregister(&route).await {
        Ok(()) => {
            tracing::info!(route = route.name, "route is unregistered");
            None
        }
        Err(error) => {
            weir_service::limited!(
                warn,
                AGAIN,
                route = route.name,
                error,
                "route could not be unregistered"
            );
            Some(route)
        }
    }
}

impl Rows {
    /// The state of everything, as the interface shows it.
    pub(crate) fn status(&self) -> Status {
        Status {
            routes: self.rows.iter().map(Row::status).collect(),
            files: self.files.clone(),
        }
    }
}

impl Row {
    fn status(&self) -> RouteStatus {
        let Self { route, file, state } = self;
        let state = state.lock().clone();
        let mut status = RouteStatus {
            name: route.name.clone(),
            app_id: route.app_id.clone(),
            health_check: route.check.as_ref().map(ToString::to_string),
            file: file.as_deref().map(str::to_owned),
            state: state.state,
            since: DateTime::from_timestamp_nanos(state.since).to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            error: state.error,
            ..RouteStatus::default()
        };
        let port = match &route.kind {
            Kind::Http(http) => {
                status.kind = "http".to_owned();
                status.uris = http.uris.clone();
                status.tls = http.tls_port.is_some();
                http.tls_port.or(http.port).unwrap_or_default()
            }
            Kind::Tcp(tcp) => {
                status.kind = "tcp".to_owned();
                status.external_port = Some(tcp.external_port);
                status.router_group = tcp.router_group.clone();
                tcp.port
            }
        };
        status.target = format!("{}:{port}", route.host);
        status
    }
}

#[cfg(test)]
mod tests;
