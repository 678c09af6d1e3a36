//! The router publishes batches to the subscriptions in its table.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_envelope::selector::Selector;
use weir_flow::{Capacity, FairQueue, Ledger, Parcel, Reason};

use crate::table::{Subscriber, Table};

/// A request of a consumer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The id of the shard. Subscriptions with one id share the stream. If it is empty, the subscription gets all
    /// envelopes.
    pub shard_id: String,
    /// The name that determines the place in a deterministic group. Empty if there is none.
    pub deterministic_name: String,
    /// The selectors. An envelope is delivered for each selector that matches.
    pub selectors: Vec<Selector>,
    /// Whether the consumer stores what it acknowledges.
    pub durable: bool,
}

/// Routes batches to subscriptions.
#[derive(Debug)]
pub struct Router {
    table: RwLock<Arc<Table>>,
    /// Held while a new table is built, so that two changes do not overwrite each other.
    changing: Mutex<()>,
    next_id: AtomicU64,
    capacity: Capacity,
    ledger: Arc<Ledger>,
}

// Allocations per batch would dominate the cost of publishing, so each thread keeps its buffers.
thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// The buffers for publishing one batch. They are reused for the next one.
struct Scratch {
    random: SmallRng,
    /// For each subscriber, the positions of its envelopes in the batch.
    picks: Vec<Vec<u32>>,
    /// The subscribers that get at least one envelope of the batch.
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
    /// Creates a router without subscriptions. Each subscription gets a queue of `capacity`, and losses are counted in
    /// `ledger`.
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

    /// Adds a subscription, which ends when the returned value is dropped. Returns `None` if there are already `most`
    /// subscriptions of its kind, live or durable.
    #[must_use]
    pub fn subscribe_within(self: &Arc<Self>, most: usize, request: Request) -> Option<Subscribed> {
        // Built before the lock is taken, because a queue allocates.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let subscriber = Arc::new(Subscriber {
            id,
            queue: Arc::new(FairQueue::new(self.capacity)),
            durable: request.durable,
            shard_id: request.shard_id,
            deterministic_name: request.deterministic_name,
            selectors: request.selectors,
        });
        // Held until the new table is in place. The limit is checked under the lock, so that it holds for concurrent
        // subscriptions.
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
        // Publishers never wait for this: they have cloned the old table, and finish with it.
        *self.table.write() = Arc::new(Table::new(subscribers));
        Some(Subscribed {
            router: Arc::clone(self),
            subscriber,
        })
    }

    /// Removes a subscription from the table.
    fn remove(&self, id: u64) {
        let _changing = self.changing.lock();
        let mut subscribers = self.table.read().subscribers.clone();
        subscribers.retain(|subscriber| subscriber.id != id);
        *self.table.write() = Arc::new(Table::new(subscribers));
    }

    /// Pushes `parcel`, or the part that it wants, to each subscription. Never waits: a full queue loses envelopes,
    /// which are counted.
    pub fn publish(&self, parcel: &Parcel) {
        // Cloning the table holds the lock for a moment only. A long publish must not block new subscriptions.
        let table = Arc::clone(&self.table.read());
        // Nobody wants the parcel. Its receipts are released when the caller drops it.
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
                // Cleared and kept, so that the next batch needs no allocation.
                picks[subscriber].clear();
                if let Some(batch) = part {
                    let subscriber = &table.subscribers[subscriber];
                    let receipts = parcel
                        .receipts
                        .iter()
                        // A consumer that does not store envelopes must not delay the acknowledgement that they are
                        // stored.
                        .map(|receipt| {
                            if subscriber.durable {
                                receipt.clone()
                            } else {
                                receipt.live()
                            }
                        })
                        .collect();
                    let losses = subscriber.queue.push(Parcel { batch, receipts });
                    // The queue returns what the push displaced, which may belong to other sources and earlier parcels.
                    self.ledger.lost("egress", Reason::SlowConsumer, &losses);
                }
            }
        });
    }
}

/// A subscription. Dropping it ends it.
#[derive(Debug)]
pub struct Subscribed {
    router: Arc<Router>,
    subscriber: Arc<Subscriber>,
}

impl Subscribed {
    /// Returns the queue in which the envelopes arrive.
    #[must_use]
    pub fn queue(&self) -> &Arc<FairQueue> {
        &self.subscriber.queue
    }

    /// Returns whether `request` equals the request of this subscription and no other subscription shares its stream.
    /// Then a consumer with this request may continue the subscription.
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

    /// Returns whether other subscriptions have the shard id of this one, and so share its stream.
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
        // A publisher may still use the old table. The closed queue refuses what it pushes, and `publish` counts this.
        self.router
            .ledger
            .lost("egress", Reason::ConsumerGone, &self.subscriber.queue.abandon());
    }
}

#[cfg(test)]
mod tests;
