//! The context of a component that carries envelopes.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use weir_service::{Context, TasksError, Trigger};

use crate::Ledger;

/// The context of a component that carries envelopes: the context of every component, and a ledger. Clones belong to
/// the same component.
#[derive(Debug, Clone)]
pub struct LogContext {
    /// The context that every component has. Its fields and methods are available on this type too.
    pub service: Context,
    /// Counts the envelopes that came in, went out and were lost.
    pub ledger: Arc<Ledger>,
}

impl Deref for LogContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.service
    }
}

/// What a component that carries no envelopes is given by a host that keeps a ledger for each.
impl From<LogContext> for Context {
    fn from(context: LogContext) -> Self {
        context.service
    }
}

impl LogContext {
    /// Returns the context of `component`, and the trigger that stops it. A failing task stops it as well.
    #[must_use]
    pub fn new(component: &'static str, ledger: Arc<Ledger>) -> (Trigger, Self) {
        let (trigger, service) = Context::new(component);
        (trigger, Self { service, ledger })
    }

    /// Returns a context whose ledger is not kept on file, for tests and tools.
    #[must_use]
    pub fn in_memory(component: &'static str) -> (Trigger, Self) {
        Self::new(component, Ledger::in_memory(component))
    }

    /// Ends a component: waits for its tasks, at most `deadline`, and writes the ledger.
    ///
    /// # Errors
    /// The tasks that did not end in time, or that failed.
    pub async fn finish(&self, deadline: Duration) -> Result<(), TasksError> {
        let joined = self.service.finish(deadline).await;
        if let Err(error) = self.ledger.persist() {
            tracing::error!(component = self.component, error = %error, "ledger cannot be written");
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a component has finished, its ledger is on file.
    #[tokio::test]
    async fn finishing_writes_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let (trigger, context) = LogContext::new("doppler", Ledger::open("doppler", Some(dir.path())).unwrap());
        context.ledger.received(3);
        trigger.fire();
        context.finish(Duration::from_secs(10)).await.unwrap();
        let snapshot = crate::LedgerSnapshot::read(dir.path(), "doppler").unwrap().unwrap();
        assert_eq!(snapshot.received, 3);
    }
}
