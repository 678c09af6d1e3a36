//! The router: publishes batches to the subscriptions of its table.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_envelope::selector::Selector;
use weir_flow::{Capacity, FairQueue, Ledger, Parcel, Reason};

use crate::table::{Subscriber, Table};

/// What a consumer asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Subscribers with the same id share the stream; empty: each gets all.
    pub shard_id: String,
    /// The place in a deterministic group; empty: none.
    pub deterministic_name: String,
    /// What of it.
    pub selectors: Vec<Selector>,
    /// Whether what the consumer acknowledges is stored.
    pub durable: bool,
}

/// Routes batches to subscriptions.
#[derive(Debug)]
pub struct Router {
    table: RwLock<Arc<Table>>,
    /// Held while a new table is built.
    changing: Mutex<()>,
    next_id: AtomicU64,
    capacity: Capacity,
    ledger: Arc<Ledger>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// What one publish needs and the next one can use again.
struct Scratch {
    random: SmallRng,
    /// Positions of the envelopes for each subscriber.
    picks: Vec<Vec<u32>>,
    /// Subscribers that get something.
    touched: Vec<usize>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            random: SmallRng::from_rng(&mut rand::rng()),
            picks: Vec::new(),
            touched: Vec::new(),
        }
    }
}

impl Router {
    /// A router without subscriptions; each will have a queue of `capacity`. Losses are counted in `ledger`.
    #[must_use]
    pub fn new(capacity: Capacity, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            table: RwLock::default(),
            changing: Mutex::new(()),
            next_id: AtomicU64::new(1),
            capacity,
            ledger,
        })
    }

    /// Adds a subscription; it ends when what is returned is dropped. `None` if there are `most` of its kind, live or
    /// durable, already.
    #[must_use]
    pub fn subscribe_within(self: &Arc<Self>, most: usize, request: Request) -> Option<Subscribed> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let subscriber = Arc::new(Subscriber {
            id,
            queue: Arc::new(FairQueue::new(self.capacity)),
            durable: request.durable,
            shard_id: request.shard_id,
            deterministic_name: request.deterministic_name,
            selectors: request.selectors,
        });
        let _changing = self.changing.lock();
        let mut subscribers = self.table.read().subscribers.clone();
        let of_its_kind = subscribers
            .iter()
            .filter(|other| other.durable == subscriber.durable)
            .count();
        if of_its_kind >= most {
            return None;
        }
        subscribers.push(Arc::clone(&subscriber));
        *self.table.write() = Arc::new(Table::new(subscribers));
        Some(Subscribed {
            router: Arc::clone(self),
            subscriber,
        })
    }

    /// Takes a subscription out of the table.
    fn remove(&self, id: u64) {
        let _changing = self.changing.lock();
        let mut subscribers = self.table.read().subscribers.clone();
        subscribers.retain(|subscriber| subscriber.id != id);
        *self.table.write() = Arc::new(Table::new(subscribers));
    }

    /// Hands `parcel` to every subscription that wants a part of it. Never waits: full queues lose, and it is counted.
    pub fn publish(&self, parcel: &Parcel) {
        let table = Arc::clone(&self.table.read());
        if table.subscribers.is_empty() {
            return;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch
                .picks
                .resize_with(table.subscribers.len().max(scratch.picks.len()), Vec::new);
            let Scratch { random, picks, touched } = scratch;
            for (index, envelope) in (0u32..).zip(parcel.batch.iter()) {
                table.route(envelope, random, |subscriber| {
                    if picks[subscriber].is_empty() {
                        touched.push(subscriber);
                    }
                    picks[subscriber].push(index);
                });
            }
            for subscriber in touched.drain(..) {
                let part = parcel.batch.pick(&picks[subscriber]);
                picks[subscriber].clear();
                if let Some(batch) = part {
                    let subscriber = &table.subscribers[subscriber];
                    let receipts = parcel
                        .receipts
                        .iter()
                        .map(|receipt| {
                            if subscriber.durable {
                                receipt.clone()
                            } else {
                                receipt.live()
                            }
                        })
                        .collect();
                    let losses = subscriber.queue.push(Parcel { batch, receipts });
                    self.ledger.lost("egress", Reason::SlowConsumer, &losses);
                }
            }
        });
    }
}

/// A subscription; dropping it ends it.
#[derive(Debug)]
pub struct Subscribed {
    router: Arc<Router>,
    subscriber: Arc<Subscriber>,
}

impl Subscribed {
    /// Where its envelopes arrive.
    #[must_use]
    pub fn queue(&self) -> &Arc<FairQueue> {
        &self.subscriber.queue
    }

    /// Whether `request` asks for what this subscription is, and no other subscription shares its stream: then whoever asks
    /// can go on in its place.
    #[must_use]
    pub fn is_alone_with(&self, request: &Request) -> bool {
        let same = |one: &Subscriber| {
            one.durable == request.durable
                && one.shard_id == request.shard_id
                && one.deterministic_name == request.deterministic_name
                && one.selectors == request.selectors
        };
        same(&self.subscriber) && !self.has_others()
    }

    /// Whether other subscriptions share the stream of this one: they have its shard id.
    #[must_use]
    pub fn has_others(&self) -> bool {
        let one = &self.subscriber;
        let table = self.router.table.read();
        !one.shard_id.is_empty()
            && table
                .subscribers
                .iter()
                .any(|other| other.id != one.id && other.durable == one.durable && other.shard_id == one.shard_id)
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.router.remove(self.subscriber.id);
        // A publisher may still hold the old table: what it pushes to the closed queue is refused and counted.
        self.router
            .ledger
            .lost("egress", Reason::ConsumerGone, &self.subscriber.queue.abandon());
    }
}

#[cfg(test)]
mod tests;
