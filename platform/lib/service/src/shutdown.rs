//! The request to stop: fired once, seen by everyone who holds the other end.

use tokio_util::sync::CancellationToken;

/// The end that asks. Clones fire the same request.
#[derive(Debug, Clone)]
pub struct Trigger {
    token: CancellationToken,
}

impl Trigger {
    /// Asks everyone to stop. Firing again changes nothing.
    pub fn fire(&self) {
        self.token.cancel();
    }

    /// Another receiving end of this trigger.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        Shutdown {
            token: self.token.clone(),
        }
    }
}

/// The end that is asked. Clones see the same request.
#[derive(Debug, Clone)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A request that nobody has made yet, and the means to make it.
    #[must_use]
    pub fn new() -> (Trigger, Self) {
        let token = CancellationToken::new();
        (Trigger { token: token.clone() }, Self { token })
    }

    /// Waits until somebody asks to stop. Cancel safe; returns at once when it is so already.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// As [`Shutdown::requested`], owning its end: for streams and spawned futures.
    pub fn requested_owned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// Whether somebody has asked to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Runs `work` until it is done or somebody asks to stop; `None` in the latter case, with `work` dropped.
    pub async fn unless_requested<F: Future>(&self, work: F) -> Option<F::Output> {
        self.token.run_until_cancelled(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All ends see one request; firing twice is firing once.
    #[tokio::test]
    async fn everyone_is_told() {
        let (trigger, shutdown) = Shutdown::new();
        let waiting = shutdown.clone().requested_owned();
        assert!(!shutdown.is_requested());
        assert_eq!(shutdown.unless_requested(async { 7 }).await, Some(7));
        trigger.fire();
        trigger.clone().fire();
        waiting.await;
        shutdown.requested().await;
        assert!(trigger.shutdown().is_requested());
        assert_eq!(shutdown.unless_requested(std::future::pending::<()>()).await, None);
    }
}
