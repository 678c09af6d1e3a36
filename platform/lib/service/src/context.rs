//! The context of a component: everything that it is given when it starts.

use std::time::Duration;

use opentelemetry::metrics::Meter;
use tracing::Span;

use crate::{Clock, Health, Shutdown, Tasks, TasksError, Trigger};

/// The target of the spans that [`Context::span`] makes. They last as long as a component runs and name it in log
/// lines. They are no measurements.
pub const COMPONENT_SPAN_TARGET: &str = "weir::component";

/// The context of a component. Clones belong to one component.
#[derive(Debug, Clone)]
pub struct Context {
    /// The name of the component, which is that of its subcommand: `doppler`, `rlp`, `log-cache`.
    pub component: &'static str,
    /// Receives the request to stop.
    pub shutdown: Shutdown,
    /// Runs all work that outlives a call.
    pub tasks: Tasks,
    /// The health of the component.
    pub health: Health,
    /// The clock of the component.
    pub clock: Clock,
}

impl Context {
    /// The context of `component`, with the trigger that stops it. A task that fails stops it as well.
    #[must_use]
    pub fn new(component: &'static str) -> (Trigger, Self) {
        let (trigger, shutdown) = Shutdown::new();
        let health = Health::new();
        let tasks = Tasks::new(trigger.clone(), health.clone());
        let context = Self {
            component,
            shutdown,
            tasks,
            health,
            clock: Clock::system(),
        };
        (trigger, context)
    }

    /// Returns the context with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The meter of the component. Its instruments record nothing unless telemetry was set up before.
    #[must_use]
    pub fn meter(&self) -> Meter {
        opentelemetry::global::meter(self.component)
    }

    /// The span by which log lines and metrics are attributed to this component. The component's server has to run in
    /// it, and its tasks inherit it.
    #[must_use]
    pub fn span(&self) -> Span {
        tracing::error_span!(target: COMPONENT_SPAN_TARGET, "component", component = self.component)
    }

    /// Ends the component: waits for its tasks, at most `deadline`.
    ///
    /// # Errors
    /// The tasks that were late or have failed.
    pub async fn finish(&self, deadline: Duration) -> Result<(), TasksError> {
        self.tasks.join(deadline).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task that fails stops its own component and no other. A component is also stopped by its trigger.
    #[tokio::test]
    async fn a_failed_task_stops_only_its_component() {
        let (_one, first) = Context::new("doppler");
        let (other, second) = Context::new("rlp");
        let _handle = first.tasks.spawn("router", async { panic!("odd") });
        first.shutdown.requested().await;
        assert!(first.finish(Duration::from_secs(10)).await.is_err());
        assert!(!second.shutdown.is_requested());
        other.fire();
        assert!(second.shutdown.is_requested());
        second.finish(Duration::from_secs(10)).await.unwrap();
    }
}
