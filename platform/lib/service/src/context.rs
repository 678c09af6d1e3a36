//! What a component is given when it starts.

use std::time::Duration;

use opentelemetry::metrics::Meter;
use tracing::Span;

use crate::{Clock, Health, Shutdown, Tasks, TasksError, Trigger};

/// Target of the spans that [`Context::span`] makes: they name a component for as long as it runs and measure nothing.
pub const COMPONENT_SPAN_TARGET: &str = "weir::component";

/// One component's surroundings. Clones are of the same component.
#[derive(Debug, Clone)]
pub struct Context {
    /// The subcommand's name: `doppler`, `rlp`, `log-cache`.
    pub component: &'static str,
    /// When to stop.
    pub shutdown: Shutdown,
    /// Where everything runs that outlives a call.
    pub tasks: Tasks,
    /// How the component is doing.
    pub health: Health,
    /// What time it is.
    pub clock: Clock,
}

impl Context {
    /// The surroundings of `component`, with the trigger that stops it. A failing task stops it as well.
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

    /// The component's instruments. They measure nothing unless telemetry was set up before.
    #[must_use]
    pub fn meter(&self) -> Meter {
        opentelemetry::global::meter(self.component)
    }

    /// The span that makes log lines and metrics this component's: run its server in it, tasks inherit it.
    #[must_use]
    pub fn span(&self) -> Span {
        tracing::error_span!(target: COMPONENT_SPAN_TARGET, "component", component = self.component)
    }

    /// The last step of a component: waits for its tasks, at most `deadline`.
    ///
    /// # Errors
    /// Who was late or failed.
    pub async fn finish(&self, deadline: Duration) -> Result<(), TasksError> {
        self.tasks.join(deadline).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failing task stops its own component, not its neighbour, which its trigger stops.
    #[tokio::test]
    async fn a_component_stops_alone() {
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
