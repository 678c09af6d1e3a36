//! The request to stop, which a [`Trigger`] makes once and every [`Shutdown`] sees.

use tokio_util::sync::CancellationToken;

/// The sender of a request to stop. Clones make one request.
#[derive(Debug, Clone)]
pub struct Trigger {
    token: CancellationToken,
}

impl Trigger {
    /// Requests the stop. A second call changes nothing.
    pub fn fire(&self) {
        self.token.cancel();
    }

    /// A receiver of this trigger's request.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        Shutdown {
            token: self.token.clone(),
        }
    }
}

/// A receiver of a request to stop. Clones receive one request.
#[derive(Debug, Clone)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A receiver, and the trigger that makes its request.
    #[must_use]
    pub fn new() -> (Trigger, Self) {
        let token = CancellationToken::new();
        (Trigger { token: token.clone() }, Self { token })
    }

    /// Waits for the request to stop. Returns at once if it was made before. Cancel safe.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// A future that waits for the request to stop and borrows nothing, for streams and spawned tasks.
    pub fn requested_owned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// Whether the stop was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Runs `work` until it is done. Returns `None` and drops `work` if the stop is requested before.
    pub async fn unless_requested<F: Future>(&self, work: F) -> Option<F::Output> {
        self.token.run_until_cancelled(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All receivers see the request, and a second request changes nothing.
    #[tokio::test]
    async fn all_receivers_see_the_request() {
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
