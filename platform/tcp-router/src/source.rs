//! The routes of the routing API: read as a whole each minute and whenever its stream of events begins anew, and changed by
//! its events in between.
//!
//! A task of its own listens to the events. Those that arrive while the routes are read wait, and are applied after them. While the routing API is away
//! nothing expires: a router without its routing API serves what it knows.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use weir_error::chain;
use weir_routing_api_client::models::TcpRoute;
use weir_routing_api_client::{ClientError, EventStream, RoutingApi, Update};
use weir_service::{Clock, Context, Part};

use crate::Config;
use crate::config::RawRoutes;
use crate::ports::Ports;
use crate::routes::Routes;
use crate::table::{Refusal, Rules, Table};

/// Most events that are applied at once.
const BURST: usize = 1024;

/// Events that wait; further ones wait in their connection.
const WAITING: usize = 64;

/// Keeps the external ports as the routing API has them.
#[derive(Debug)]
pub(crate) struct Source {
    api: RoutingApi,
    events: mpsc::Receiver<Update<TcpRoute>>,
    /// The name of the router group; empty: all groups.
    group: String,
    segments: Vec<String>,
    times: RawRoutes,
    table: Table,
    routes: Routes,
    ports: Ports,
    clock: Clock,
    health: Part,
    is_connected: bool,
}

impl Source {
    /// The ports are opened as soon as the routing API has answered, and `health` serves from then on.
    pub(crate) fn new(api: RoutingApi, config: &Config, ports: Ports, context: &Context, health: Part) -> Self {
        let rules = Rules {
            segments: config.isolation_segments.clone(),
            ttl: config.routes.ttl.get(),
            backend_tls: config.backend_tls.is_enabled(),
        };
        let (heard, events) = mpsc::channel(WAITING);
        context.tasks.spawn("route events", listen(api.tcp_events(), heard));
        Self {
            api,
            events,
            group: config.router_group.clone(),
            segments: config.isolation_segments.clone(),
            times: config.routes,
            table: Table::new(rules),
            routes: Routes::default(),
            ports,
            clock: context.clock.clone(),
            health,
            is_connected: false,
        }
    }

    /// Follows the routing API. Never ends; what was opened is closed by [`Source::close`].
    pub(crate) async fn follow(&mut self) {
        let mut prune = interval(self.times.prune.get());
        prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Not before the stream of events is there, if it comes: what happened before is in the list.
        let mut next_sync = Instant::now() + self.times.retry.get();
        loop {
            tokio::select! {
                Some(update) = self.events.recv() => {
                    if self.take(update).await {
                        next_sync = Instant::now() + self.synchronise().await;
                    }
                }
                () = sleep_until(next_sync) => next_sync = Instant::now() + self.synchronise().await,
                _ = prune.tick() => self.prune().await,
            }
        }
    }

    /// Closes all ports. Connections are carried on.
    pub(crate) fn close(&mut self) {
        self.ports.close_all();
    }

    /// Applies an update, and what else has arrived; whether the routes have to be read as a whole.
    async fn take(&mut self, update: Update<TcpRoute>) -> bool {
        let (mut changed, mut next) = (false, Some(update));
        let mut taken = 0;
        while let Some(update) = next.take() {
            match update {
                Update::Connected => {
                    self.is_connected = true;
                    return true;
                }
                Update::Disconnected { reason } => {
                    self.is_connected = false;
                    tracing::warn!(reason, "events of the routing API are interrupted");
                    break;
                }
                Update::Upsert(route) => match self.table.upsert(&route, self.clock.instant()) {
                    Ok(new) => changed |= new,
                    Err(Refusal::Foreign) => {}
                    Err(Refusal::Invalid(reason)) => refuse(&route, reason),
                },
                Update::Delete(route) => changed |= self.table.delete(&route),
            }
            taken += 1;
            if taken < BURST {
                next = self.events.try_recv().ok();
            }
        }
        if changed {
            self.apply().await;
        }
        false
    }

    /// Reads all routes; how long to wait before the next time.
    async fn synchronise(&mut self) -> Duration {
        match self.read().await {
            Ok(list) => {
                let (changed, invalid) = self.table.replace(&list, self.clock.instant());
                for (route, reason) in invalid {
                    refuse(route, reason);
                }
                tracing::debug!(routes = list.len(), changed, "routes are read");
                // Also where nothing changed: a port that could not be opened may be free now.
                self.apply().await;
                self.health.serving();
                self.times.sync.get()
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "routes cannot be read from the routing API");
                self.times.retry.get()
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<TcpRoute>, ClientError> {
        if !self.group.is_empty() {
            let group = self.api.router_group(&self.group).await?;
            if group.is_none() {
                tracing::warn!(
                    group = self.group,
                    "router group does not exist, so there are no routes"
                );
            }
            self.table
                .set_group(Some(group.map(|group| group.guid).unwrap_or_default()));
        }
        self.api.tcp_routes(&self.segments).await
    }

    async fn prune(&mut self) {
        if self.is_connected && self.table.prune(self.clock.instant()) > 0 {
            self.apply().await;
        }
    }

    async fn apply(&mut self) {
        self.routes = self.table.routes(&self.routes);
        self.ports.apply(&self.routes).await;
    }
}

/// Listens until nobody takes the updates any more.
async fn listen(mut events: EventStream<TcpRoute>, heard: mpsc::Sender<Update<TcpRoute>>) {
    let listening = async { while heard.send(events.next().await).await.is_ok() {} };
    tokio::select! {
        () = listening => {}
        () = heard.closed() => {}
    }
}

fn refuse(route: &TcpRoute, reason: &str) {
    weir_service::limited!(error, weir_service::EACH_SECOND, %route, reason, "route is not served");
}
