//! Keeps one route: asks its program at each interval, and registers or unregisters it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use weir_service::{Clock, Shutdown, Tasks, Trigger};

use crate::announce::Announce;
use crate::route::Route;
use crate::status::RouteState;

/// What all kept routes share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) announce: Arc<dyn Announce>,
    /// How many unregistrations are sent in a row.
    pub(crate) unregistration_limit: u32,
    /// Every change makes each route begin its next interval at once.
    pub(crate) wake: watch::Receiver<u64>,
    pub(crate) clock: Clock,
}

/// What has become of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) state: RouteState,
    /// Nanoseconds since the Unix epoch.
    pub(crate) since: i64,
    pub(crate) error: Option<String>,
}

/// The task that keeps a route.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) state: Arc<Mutex<State>>,
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Keeping {
    /// Begins to keep `route`.
    pub(crate) fn start(route: Arc<Route>, shared: Shared, tasks: &Tasks) -> Self {
        let state = State {
            state: RouteState::Starting,
            since: shared.clock.now_nanos(),
            error: None,
        };
        let state = Arc::new(Mutex::new(state));
        let (trigger, shutdown) = Shutdown::new();
        let keeper = Keeper {
            route,
            shared,
            state: Arc::clone(&state),
        };
        let task = tasks.spawn("keep route", keeper.run(shutdown));
        Self { state, trigger, task }
    }

    /// Asks the task to end.
    pub(crate) fn ask_to_stop(&self) {
        self.trigger.fire();
    }

    /// Ends the task. Once this returns, the task sends nothing any more.
    pub(crate) async fn stop(self) {
        self.trigger.fire();
        // A task that panicked has ended, too; the list of tasks reports it.
        self.task.await.ok();
    }
}

#[derive(Debug)]
struct Keeper {
    route: Arc<Route>,
    shared: Shared,
    state: Arc<Mutex<State>>,
}

impl Keeper {
    async fn run(mut self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(self.route.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unregistrations = 0;
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                _ = ticks.tick() => {}
                // The registrar that sends these outlives its routes.
                Ok(()) = self.shared.wake.changed() => ticks.reset(),
            }
            let asking = async {
                match &self.route.check {
                    None => Ok(()),
                    Some(check) => check.run().await,
                }
            };
            let Some(health) = shutdown.unless_requested(asking).await else {
                return;
            };
            // What is being sent is not broken off, so that a message after it is the later one for all routers.
            match health {
                Ok(()) => {
                    unregistrations = 0;
                    let sent = self.shared.announce.register(&self.route).await;
                    self.set(RouteState::Registered, None, sent);
                }
                Err(reason) if unregistrations < self.shared.unregistration_limit => {
                    let sent = self.shared.announce.unregister(&self.route).await;
                    // What was not sent does not count: a router would keep the route.
                    unregistrations += u32::from(sent.is_ok());
                    self.set(RouteState::Unhealthy, Some(reason), sent);
                }
                Err(reason) => self.set(RouteState::Unhealthy, Some(reason), Ok(())),
            }
        }
    }

    /// Notes what has become of the route, and logs it if it is new.
    fn set(&self, intended: RouteState, reason: Option<String>, sent: Result<(), String>) {
        let (state, error) = match sent {
            Ok(()) => (intended, reason),
            Err(error) => (RouteState::Failed, Some(error)),
        };
        let mut current = self.state.lock();
        if current.state != state {
            let (name, error) = (&self.route.name, error.as_deref());
            match state {
                RouteState::Unhealthy => {
                    tracing::warn!(route = name, error, "route is unregistered: its program is not healthy");
                }
                RouteState::Failed => tracing::warn!(route = name, error, "route could not be announced"),
                RouteState::Registered | RouteState::Starting => tracing::info!(route = name, "route is registered"),
            }
            current.since = self.shared.clock.now_nanos();
            current.state = state;
        }
        current.error = error;
    }
}
