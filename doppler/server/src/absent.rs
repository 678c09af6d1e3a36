//! Durable consumers that are away for a moment.
//!
//! A log cache that restarts subscribes again within a second. What is routed in between must not be lost without a word,
//! so its subscription stays in the router's table and its queue fills; when the consumer comes back, it goes on with that
//! queue. One that does not come back in time loses it, and that is counted. A consumer whose shard has other members is
//! not waited for: the others take its share from the moment it is gone.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use weir_doppler_router::{Request, Subscribed};
use weir_service::Shutdown;

/// How long a consumer may stay away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks for those that stayed away too long.
const STEP: Duration = Duration::from_secs(1);

/// The subscriptions whose consumers are away. They count as subscriptions, so their number is bounded by the limit of
/// these.
#[derive(Debug)]
pub(crate) struct Absent {
    away: Mutex<Vec<Away>>,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct Away {
    subscribed: Subscribed,
    until: Instant,
}

impl Absent {
    /// Nobody is away; nobody is waited for once `shutdown` is requested.
    pub(crate) fn new(shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self {
            away: Mutex::default(),
            shutdown,
        })
    }

    /// The subscription that the consumer with this request left, if it comes back in time.
    pub(crate) fn take(&self, request: &Request) -> Option<Subscribed> {
        let mut away = self.away.lock();
        let position = away.iter().position(|one| one.subscribed.is_alone_with(request))?;
        Some(away.swap_remove(position).subscribed)
    }

    /// Gives the losses of those that stayed away too long to the ledger, until shutdown is requested; then of all.
    pub(crate) async fn keep(self: Arc<Self>) {
        while self.shutdown.unless_requested(tokio::time::sleep(STEP)).await.is_some() {
            let now = Instant::now();
            self.drop_those(|one| one.until <= now);
        }
        self.drop_those(|_| true);
    }

    fn drop_those(&self, over: impl Fn(&Away) -> bool) {
        let gone: Vec<Away> = self.away.lock().extract_if(.., |one| over(one)).collect();
        for one in gone {
            tracing::warn!(
                envelopes = one.subscribed.queue().len(),
                "a consumer that stores envelopes did not come back: what was kept for it is lost"
            );
        }
    }
}

/// A durable subscription as long as its consumer is there; dropping it waits for the consumer.
#[derive(Debug)]
pub(crate) struct Present {
    subscribed: Option<Subscribed>,
    absent: Arc<Absent>,
}

impl Present {
    pub(crate) const fn new(subscribed: Subscribed, absent: Arc<Absent>) -> Self {
        Self {
            subscribed: Some(subscribed),
            absent,
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let Some(subscribed) = self.subscribed.take() else {
            return;
        };
        if self.absent.shutdown.is_requested() || subscribed.has_others() {
            return;
        }
        tracing::info!("a consumer that stores envelopes is away; what comes for it is kept");
        self.absent.away.lock().push(Away {
            subscribed,
            until: Instant::now() + PATIENCE,
        });
    }
}

#[cfg(test)]
mod tests {
    use weir_doppler_router::Router;
    use weir_envelope::batch::BatchBuilder;
    use weir_flow::{Capacity, Ledger, Parcel};
    use weir_service::Trigger;

    use super::*;

    const CAPACITY: Capacity = Capacity {
        envelopes: 1000,
        bytes: 1 << 20,
    };

    struct Setup {
        router: Arc<Router>,
        ledger: Arc<Ledger>,
        absent: Arc<Absent>,
        stop: Trigger,
    }

    impl Setup {
        fn new() -> Self {
            let ledger = Ledger::in_memory("doppler");
            let (stop, shutdown) = Shutdown::new();
            Self {
                router: Router::new(CAPACITY, Arc::clone(&ledger)),
                ledger,
                absent: Absent::new(shutdown),
                stop,
            }
        }

        fn subscribe(&self) -> Subscribed {
            self.router.subscribe_within(10, request()).expect("there is room")
        }

        fn leave(&self, subscribed: Subscribed) {
            drop(Present::new(subscribed, Arc::clone(&self.absent)));
        }

        fn publish(&self) {
            let mut builder = BatchBuilder::new();
            builder.push_with(|envelope| weir_envelope::wire::put_bytes(envelope, 4, &[]));
            self.router.publish(&Parcel::unacknowledged(builder.finish()));
        }

        fn lost(&self) -> u64 {
            self.ledger.snapshot().dropped_total()
        }
    }

    fn request() -> Request {
        let everything = weir_envelope::selector::everything();
        let selectors = everything
            .iter()
            .filter_map(weir_envelope::selector::Selector::from_proto);
        Request {
            shard_id: "log-cache".to_owned(),
            deterministic_name: String::new(),
            selectors: selectors.collect(),
            durable: true,
        }
    }

    /// A consumer that comes back finds what came meanwhile; one that asks for something else does not.
    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_comes_back_goes_on() {
        let setup = Setup::new();
        setup.leave(setup.subscribe());
        setup.publish();
        let other = Request {
            shard_id: "other".to_owned(),
            ..request()
        };
        assert!(setup.absent.take(&other).is_none());
        let back = setup.absent.take(&request()).expect("it was kept");
        assert_eq!(back.queue().len(), 1);
        setup.publish();
        assert_eq!(back.queue().len(), 2);
        assert!(setup.absent.take(&request()).is_none());
        assert_eq!(setup.lost(), 0);
    }

    /// A consumer that stays away, or is away when the doppler stops, loses what was kept, and it is counted.
    #[tokio::test(start_paused = true)]
    async fn what_nobody_comes_back_for_is_counted() {
        let setup = Setup::new();
        let keeping = Arc::clone(&setup.absent).keep();
        tokio::pin!(keeping);
        setup.leave(setup.subscribe());
        setup.publish();
        let waited = tokio::time::timeout(PATIENCE + 2 * STEP, &mut keeping).await;
        assert!(waited.is_err(), "it keeps watch until the stop");
        assert_eq!(setup.lost(), 1);
        setup.leave(setup.subscribe());
        setup.publish();
        setup.stop.fire();
        keeping.await;
        assert_eq!(setup.lost(), 2);
    }

    /// A consumer whose shard has another member is not waited for: the other one gets everything from then on.
    #[tokio::test(start_paused = true)]
    async fn a_shard_with_others_goes_on_without_it() {
        let setup = Setup::new();
        let (one, other) = (setup.subscribe(), setup.subscribe());
        setup.leave(one);
        for _ in 0..10 {
            setup.publish();
        }
        assert_eq!(other.queue().len(), 10);
        assert!(setup.absent.take(&request()).is_none());
    }
}
