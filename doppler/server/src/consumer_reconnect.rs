//! After a restart, producers wait for the consumers to come back.
//!
//! Both reconnect on their own, in whatever order. An envelope that is routed before its consumers have subscribed again is
//! lost to them without having been queued for anybody, and nobody would count it. So a doppler that had consumers when it
//! ended (its ledger knows) lets producers wait until as many are back, though not for long: some never come. What is sent
//! meanwhile stays in the buffers of the agents.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_flow::Ledger;

/// Subscriptions try again at least every half second.
const LONGEST: Duration = Duration::from_secs(1);

/// Between two looks.
const STEP: Duration = Duration::from_millis(5);

/// The wait for the consumers of before.
#[derive(Debug)]
pub(crate) struct Reunion {
    ledger: Arc<Ledger>,
    until: Instant,
}

impl Reunion {
    /// Begins now.
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            until: Instant::now() + LONGEST,
        }
    }

    /// Waits until the consumers are back, or long enough. At once if there were none.
    pub(crate) async fn over(&self) {
        while self.ledger.missing_subscribers() > 0 {
            if Instant::now() >= self.until {
                tracing::info!(
                    missing = self.ledger.missing_subscribers(),
                    "consumers of before the restart did not come back"
                );
                self.ledger.forget_missing_subscribers();
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        self.ledger.forget_missing_subscribers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarted(had: i64) -> (tempfile::TempDir, Arc<Ledger>) {
        let dir = tempfile::tempdir().expect("a directory");
        let before = Ledger::open("doppler", Some(dir.path())).expect("opens");
        before.subscribers(had);
        before.persist().expect("writes");
        let ledger = Ledger::open("doppler", Some(dir.path())).expect("opens again");
        (dir, ledger)
    }

    /// Producers are let in as soon as the last consumer is back, and are not held up again when it goes.
    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_last_consumer() {
        let (_dir, ledger) = restarted(2);
        let reunion = Reunion::new(Arc::clone(&ledger));
        ledger.subscribers(1);
        let start = Instant::now();
        let over = reunion.over();
        let back = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ledger.subscribers(1);
        };
        tokio::join!(over, back);
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
        ledger.subscribers(-2);
        reunion.over().await;
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    }

    /// Consumers that never come back hold nobody up for long; a first start not at all.
    #[tokio::test(start_paused = true)]
    async fn it_ends_in_any_case() {
        let (_dir, ledger) = restarted(1);
        let start = Instant::now();
        Reunion::new(ledger).over().await;
        assert!(start.elapsed() >= LONGEST && start.elapsed() < 2 * LONGEST);
        let start = Instant::now();
        Reunion::new(Ledger::in_memory("doppler")).over().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
