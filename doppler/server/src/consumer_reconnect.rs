//! Delays producers after a restart until the consumers are connected again.
//!
//! After a restart, producers and consumers reconnect independently. If an envelope is routed before its consumers have
//! subscribed again, it is lost without having been in a queue, so nobody would count it. Therefore a doppler that had
//! consumers when it ended, which its ledger knows, makes producers wait until as many consumers are connected. The
//! wait is short, because some consumers may never come back. In the meantime envelopes stay in the buffers of the
//! agents.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_flow::Ledger;

/// How long producers wait at most. Subscribers retry at least every half second.
const LONGEST: Duration = Duration::from_secs(1);

/// The time between two checks.
const STEP: Duration = Duration::from_millis(5);

/// The wait of producers for the consumers that were connected before the restart.
#[derive(Debug)]
pub(crate) struct ConsumerReconnect {
    ledger: Arc<Ledger>,
    until: Instant,
}

impl ConsumerReconnect {
    /// Starts the wait.
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            until: Instant::now() + LONGEST,
        }
    }

    /// Waits until the consumers are connected again, or until the time is over. Returns at once if there were none.
    pub(crate) async fn finished(&self) {
        while self.ledger.missing_subscribers() > 0 {
            if Instant::now() >= self.until {
                tracing::info!(
                    missing = self.ledger.missing_subscribers(),
                    "consumers of before the restart did not come back"
                );
                // Producers of a later call must not wait for consumers that are gone.
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

    /// Producers are admitted as soon as the last consumer is connected, and do not wait again when it disconnects.
    #[tokio::test(start_paused = true)]
    async fn producers_wait_for_the_last_consumer() {
        let (_dir, ledger) = restarted(2);
        let consumer_reconnect = ConsumerReconnect::new(Arc::clone(&ledger));
        ledger.subscribers(1);
        let start = Instant::now();
        let over = consumer_reconnect.finished();
        let back = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ledger.subscribers(1);
        };
        tokio::join!(over, back);
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
        ledger.subscribers(-2);
        consumer_reconnect.finished().await;
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    }

    /// Producers wait for a bounded time for consumers that never come back, and not at all after a first start.
    #[tokio::test(start_paused = true)]
    async fn producers_wait_for_a_bounded_time() {
        let (_dir, ledger) = restarted(1);
        let start = Instant::now();
        ConsumerReconnect::new(ledger).finished().await;
        assert!(start.elapsed() >= LONGEST && start.elapsed() < 2 * LONGEST);
        let start = Instant::now();
        ConsumerReconnect::new(Ledger::in_memory("doppler")).finished().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
