//! What a component is given when it starts.

use std::sync::Arc;
use std::time::Duration;

use tracing::Span;
use weir_flow::Ledger;

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
    /// What came in, went out and was lost.
    pub ledger: Arc<Ledger>,
    /// Where everything runs that outlives a call.
    pub tasks: Tasks,
    /// How the component is doing.
    pub health: Health,
    /// What time it is.
    pub clock: Clock,
}

impl Context {
    /// Surroundings on their own: their trigger, and a failing task, stop this component only.
    #[must_use]
    pub fn new(component: &'static str, ledger: Arc<Ledger>) -> (Trigger, Self) {
        let (trigger, shutdown) = Shutdown::new();
        let context = Self::assemble(component, ledger, trigger.clone(), shutdown);
        (trigger, context)
    }

    /// Surroundings that also stop when `parent` does, for a component of a larger whole. The whole learns of a failing
    /// task from [`Context::finish`].
    #[must_use]
    pub fn within(parent: &Shutdown, component: &'static str, ledger: Arc<Ledger>) -> (Trigger, Self) {
        let (trigger, shutdown) = parent.child();
        let context = Self::assemble(component, ledger, trigger.clone(), shutdown);
        (trigger, context)
    }

    /// As [`Context::new`], with a ledger that is not kept: for tests and tools.
    #[must_use]
    pub fn in_memory(component: &'static str) -> (Trigger, Self) {
        Self::new(component, Ledger::in_memory(component))
    }

    fn assemble(component: &'static str, ledger: Arc<Ledger>, trigger: Trigger, shutdown: Shutdown) -> Self {
        let health = Health::new();
        let tasks = Tasks::new(trigger, health.clone());
        Self {
            component,
            shutdown,
            ledger,
            tasks,
            health,
            clock: Clock::system(),
        }
    }

    /// The same surroundings at another time.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The span that makes log lines and metrics this component's: run its server in it, tasks inherit it.
    #[must_use]
    pub fn span(&self) -> Span {
        tracing::error_span!(target: COMPONENT_SPAN_TARGET, "component", component = self.component)
    }

    /// The last step of a component: waits for its tasks, at most `deadline`, and writes the ledger.
    ///
    /// # Errors
    /// Who was late or failed.
    pub async fn finish(&self, deadline: Duration) -> Result<(), TasksError> {
        let joined = self.tasks.join(deadline).await;
        if let Err(error) = self.ledger.persist() {
            tracing::error!(component = self.component, error = %error, "ledger cannot be written");
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failing task stops its own component, not its neighbours; the whole stops all.
    #[tokio::test]
    async fn components_stop_alone_or_together() {
        let (whole, stop) = Shutdown::new();
        let (_one, first) = Context::within(&stop, "doppler", Ledger::in_memory("doppler"));
        let (_two, second) = Context::within(&stop, "rlp", Ledger::in_memory("rlp"));
        let _handle = first.tasks.spawn("router", async { panic!("odd") });
        first.shutdown.requested().await;
        assert!(!second.shutdown.is_requested() && !stop.is_requested());
        assert!(first.finish(Duration::from_secs(10)).await.is_err());
        whole.fire();
        assert!(second.shutdown.is_requested());
        second.finish(Duration::from_secs(10)).await.unwrap();
    }

    /// The ledger is on file when a component has finished.
    #[tokio::test]
    async fn finishing_writes_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let (trigger, context) = Context::new("doppler", Ledger::open("doppler", Some(dir.path())).unwrap());
        context.ledger.received(3);
        trigger.fire();
        context.finish(Duration::from_secs(10)).await.unwrap();
        let snapshot = weir_flow::LedgerSnapshot::read(dir.path(), "doppler").unwrap().unwrap();
        assert_eq!(snapshot.received, 3);
    }
}
