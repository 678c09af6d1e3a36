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

    /// Adds a subscription; it ends when what is returned is dropped.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, request: Request) -> Subscribed {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(FairQueue::new(self.capacity));
        let subscriber = Arc::new(Subscriber {
            id,
            queue: Arc::clone(&queue),
            durable: request.durable,
            shard_id: request.shard_id,
            deterministic_name: request.deterministic_name,
            selectors: request.selectors,
        });
        self.change(|subscribers| subscribers.push(subscriber));
        Subscribed {
            router: Arc::clone(self),
            id,
            queue,
        }
    }

    /// Number of subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.table.read().subscribers.len()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Subscriber>>)) {
        let _changing = self.changing.lock();
        let mut subscribers = self.table.read().subscribers.clone();
        change(&mut subscribers);
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
    id: u64,
    queue: Arc<FairQueue>,
}

impl Subscribed {
    /// Where its envelopes arrive.
    #[must_use]
    pub const fn queue(&self) -> &Arc<FairQueue> {
        &self.queue
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.router
            .change(|subscribers| subscribers.retain(|subscriber| subscriber.id != self.id));
        // A publisher may still hold the old table: what it pushes to the closed queue is refused and counted.
        self.router
            .ledger
            .lost("egress", Reason::ConsumerGone, &self.queue.abandon());
    }
}

#[cfg(test)]
mod tests;
