//! Durable consumers that are absent for a short time.
//!
//! A log cache that restarts subscribes again within a second. Envelopes that are routed in the meantime must not be
//! lost without being counted. So its subscription stays in the router's table and its queue fills, and the consumer
//! continues with this queue when it is back. If it does not come back in time, the queue is counted as lost. If other
//! subscriptions share its shard, the consumer is not waited for, because these get its share at once.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use weir_doppler_router::{Request, Subscribed};
use weir_service::Shutdown;

/// How long a consumer may be absent.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is checked whether a consumer has been absent for too long.
const STEP: Duration = Duration::from_secs(1);

/// The subscriptions of absent consumers. They count towards the limit of subscriptions, so their number is bounded.
#[derive(Debug)]
pub(crate) struct AbsentConsumers {
    away: Mutex<Vec<AbsentConsumer>>,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct AbsentConsumer {
    subscribed: Subscribed,
    until: Instant,
}

impl AbsentConsumers {
    /// Creates an empty set. Once `shutdown` is requested, absent consumers are not waited for.
    pub(crate) fn new(shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self {
            away: Mutex::default(),
            shutdown,
        })
    }

    /// Takes the subscription that a consumer with an equal request left, if there is one.
    pub(crate) fn take(&self, request: &Request) -> Option<Subscribed> {
        let mut away = self.away.lock();
        // A consumer with the same request is taken for the absent one. It may have another address after its restart.
        let position = away.iter().position(|one| one.subscribed.is_alone_with(request))?;
        Some(away.swap_remove(position).subscribed)
    }

    /// Drops the subscriptions of consumers that were absent for too long, and all of them when shutdown is requested.
    /// The router counts what was in their queues.
    pub(crate) async fn keep(self: Arc<Self>) {
        while self.shutdown.unless_requested(tokio::time::sleep(STEP)).await.is_some() {
            let now = Instant::now();
            self.drop_those(|one| one.until <= now);
        }
        // On shutdown nobody can return, so what was kept is counted as lost now.
        self.drop_those(|_| true);
    }

    fn drop_those(&self, over: impl Fn(&AbsentConsumer) -> bool) {
        let gone: Vec<AbsentConsumer> = self.away.lock().extract_if(.., |one| over(one)).collect();
        // Dropped outside of the lock, because dropping a subscription writes to the ledger.
        for one in gone {
            tracing::warn!(
                envelopes = one.subscribed.queue().len(),
                "a consumer that stores envelopes did not come back: what was kept for it is lost"
            );
        }
    }
}

/// The subscription of a durable consumer that is connected. When this is dropped, the consumer counts as absent.
#[derive(Debug)]
pub(crate) struct ConnectedConsumer {
    subscribed: Option<Subscribed>,
    absent: Arc<AbsentConsumers>,
}

impl ConnectedConsumer {
    pub(crate) const fn new(subscribed: Subscribed, absent: Arc<AbsentConsumers>) -> Self {
        Self {
            subscribed: Some(subscribed),
            absent,
        }
    }
}

impl Drop for ConnectedConsumer {
    fn drop(&mut self) {
        let Some(subscribed) = self.subscribed.take() else {
            return;
        };
        // If the shard has other members, these receive its envelopes from now on, and nothing must be kept.
        if self.absent.shutdown.is_requested() || subscribed.has_others() {
            return;
        }
        tracing::info!("a consumer that stores envelopes is away; what comes for it is kept");
        self.absent.away.lock().push(AbsentConsumer {
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
        absent: Arc<AbsentConsumers>,
        stop: Trigger,
    }

    impl Setup {
        fn new() -> Self {
            let ledger = Ledger::in_memory("doppler");
            let (stop, shutdown) = Shutdown::new();
            Self {
                router: Router::new(CAPACITY, Arc::clone(&ledger)),
                ledger,
                absent: AbsentConsumers::new(shutdown),
                stop,
            }
        }

        fn subscribe(&self) -> Subscribed {
            self.router.subscribe_within(10, request()).expect("there is room")
        }

        fn leave(&self, subscribed: Subscribed) {
            drop(ConnectedConsumer::new(subscribed, Arc::clone(&self.absent)));
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

    /// A consumer that comes back gets what arrived in the meantime. One with another request does not.
    #[tokio::test(start_paused = true)]
    async fn a_returning_consumer_continues_with_its_queue() {
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

    /// If a consumer stays absent, or is absent when the doppler stops, its queue is counted as lost.
    #[tokio::test(start_paused = true)]
    async fn what_an_absent_consumer_misses_is_counted() {
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

    /// A consumer whose shard has another member is not waited for, and the other member gets everything.
    #[tokio::test(start_paused = true)]
    async fn other_members_of_a_shard_take_over() {
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
