//! What a component that carries envelopes is given when it starts.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use weir_service::{Context, TasksError, Trigger};

use crate::Ledger;

/// The surroundings of a component that carries envelopes: those of every component, and its ledger. Clones are of the same
/// component.
#[derive(Debug, Clone)]
pub struct LogContext {
    /// What every component has; its fields and methods are this type's, too.
    pub service: Context,
    /// What came in, went out and was lost.
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
    /// The surroundings of `component`, with the trigger that stops it. A failing task stops it as well.
    #[must_use]
    pub fn new(component: &'static str, ledger: Arc<Ledger>) -> (Trigger, Self) {
        let (trigger, service) = Context::new(component);
        (trigger, Self { service, ledger })
    }

    /// Surroundings whose ledger is not kept on file: for tests and tools.
    #[must_use]
    pub fn in_memory(component: &'static str) -> (Trigger, Self) {
        Self::new(component, Ledger::in_memory(component))
    }

    /// The last step of a component: waits for its tasks, at most `deadline`, and writes the ledger.
    ///
    /// # Errors
    /// Who was late or failed.
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

    /// The ledger is on file when a component has finished.
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
