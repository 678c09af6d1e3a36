//! One drain: its queue, its task, its backlog, its account.
//!
//! ```text
//! router ─▶ Queue ─────────────────────────────▶ Packer ─▶ weir_drain::Sender ─▶ the drain
//!             └──▶ Backlog (disk) ──▶ Load ──▶ ─┘   ▲          │
//!                   while it is away or slow         └─ again ─ Flight ◀─ Outcomes
//! ```
//!
//! A drain is keyed by its binding, never by its URL. Everything of it runs in one [`task`], so that nothing it does or
//! waits for can hold up another one. Once something went to disk, everything goes through the disk until that is read
//! again: the order is kept.
//!
//! **Receipts.** An envelope's receipt is dropped when it is in the drain's socket, answered by the drain, on disk, or
//! dropped and counted. What waits in memory longer than `spill.after`, be it in the queue or in a connection that does not
//! take it, gets a copy on disk, so that a slow drain never holds up a producer.
//!
//! **Again.** TCP acknowledges nothing: what was written less than a moment before the connection broke is sent again,
//! at most the transport's window. A message at which connections break again and again is found and set aside
//! ([`trials`]).

pub(crate) mod account;
mod backlog;
mod breaker;
mod flight;
mod packing;
pub(crate) mod queue;
mod task;
#[cfg(test)]
mod tests;
mod trials;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use weir_drain::{Binding, Settings};
use weir_flow::{Ledger, Parcel, Reason};
use weir_service::{Clock, Tasks};

use crate::config::Terms;
use crate::spill::Budget;
use crate::status::{State, Status};

use account::Account;
use queue::{Memory, Queue};

/// What all drains of an agent share.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) terms: Terms,
    pub(crate) settings: Settings,
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) budget: Arc<Budget>,
    /// The folder of all backlogs.
    pub(crate) spill: PathBuf,
    /// Bytes of shipments on their way, of all drains.
    pub(crate) flying: AtomicUsize,
    /// Most of them before every drain has to do with one shipment at a time.
    pub(crate) max_flying: usize,
    /// Somebody has something to tell.
    pub(crate) news: Notify,
    /// Envelopes handed to drains.
    pub(crate) routed: AtomicU64,
}

impl Env {
    /// The folder of one backlog.
    pub(crate) fn folder(&self, binding: &Binding) -> PathBuf {
        self.spill.join(binding.id.to_string())
    }
}

/// What a drain's task has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Deliver.
    Run,
    /// The binding was removed: deliver what is there until then, and count the rest as lost.
    Remove(Instant),
    /// The agent stops: deliver what is there until then, and put the rest on disk.
    Stop(Instant),
}

#[derive(Debug, Clone)]
struct Control {
    binding: Arc<Binding>,
    order: Order,
    /// Signs that the drain is back, so far.
    signs: u64,
}

/// One drain, as everybody but its task sees it.
#[derive(Debug)]
pub(crate) struct Drain {
    /// No other drain of this process has it, whatever its binding.
    pub(crate) serial: u64,
    binding: RwLock<Arc<Binding>>,
    pub(crate) queue: Queue,
    pub(crate) account: Account,
    pub(crate) status: Status,
    control: watch::Sender<Control>,
    /// Whether a queue that overflows does so because the disk failed.
    disk_failed: AtomicBool,
    connected: AtomicBool,
    /// It takes nothing any more.
    ending: AtomicBool,
    over: watch::Sender<bool>,
    seen_over: AtomicBool,
}

impl Drain {
    fn new(binding: Arc<Binding>, env: &Env, state: State) -> Arc<Self> {
        let control = Control {
            binding: Arc::clone(&binding),
            order: Order::Run,
            signs: 0,
        };
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            binding: RwLock::new(binding),
            queue: Queue::new(env.terms.memory, Arc::clone(&env.memory)),
            account: Account::new(&env.ledger),
            status: Status::new(state, env.clock.now_nanos()),
            control: watch::Sender::new(control),
            disk_failed: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            over: watch::Sender::new(false),
            seen_over: AtomicBool::new(false),
        })
    }

    /// Starts a drain. `found`: there is a backlog of a former agent.
    pub(crate) fn start(binding: Arc<Binding>, env: &Arc<Env>, found: bool) -> Arc<Self> {
        let drain = Self::new(binding, env, State::Connecting);
        let task = task::Task::new(Arc::clone(&drain), Arc::clone(env), found);
        env.tasks.spawn("drain", task.run());
        drain
    }

    /// One that is beyond the limit of its app: nothing is ever sent to it.
    pub(crate) fn over_limit(binding: Arc<Binding>, env: &Env) -> Arc<Self> {
        Self::new(binding, env, State::OverLimit)
    }

    /// The binding that it serves.
    pub(crate) fn binding(&self) -> Arc<Binding> {
        Arc::clone(&self.binding.read())
    }

    /// Takes a parcel. Never waits; what has to go for it is counted.
    pub(crate) fn push(&self, parcel: Parcel, now: Instant) {
        self.account.route(parcel.batch.len() as u64);
        let losses = self.queue.push(parcel, now);
        if !losses.is_empty() {
            self.account.lose(self.overflow(), &losses);
        }
    }

    /// Why the queue loses something.
    fn overflow(&self) -> Reason {
        if self.ending.load(Ordering::Relaxed) {
            Reason::ConsumerGone
        } else if self.disk_failed.load(Ordering::Relaxed) {
            Reason::SpillFailed
        } else {
            Reason::BufferFull
        }
    }

    /// Changes what its task has to do.
    pub(crate) fn order(&self, order: Order) {
        self.control.send_modify(|control| control.order = order);
    }

    /// There is a sign that the drain is back: it is tried now, and not when its pause is over.
    pub(crate) fn hope(&self) {
        self.control.send_modify(|control| control.signs += 1);
    }

    /// Whether it is at this [place](weir_drain::DrainUrl::place).
    pub(crate) fn is_at(&self, place: &str) -> bool {
        self.binding.read().url.host_and_port() == place
    }

    /// The credentials were rotated, or the app was renamed: it goes on, with another id.
    pub(crate) fn rebind(&self, binding: Arc<Binding>) {
        *self.binding.write() = Arc::clone(&binding);
        self.control.send_modify(|control| {
            control.binding = binding;
            control.order = Order::Run;
        });
    }

    /// Whether there is a connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Whether its task has ended: it was removed, or the agent stopped.
    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Whether its task has begun to end, and takes no other order.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Waits until its task has ended.
    pub(crate) async fn ended(&self) {
        // The other end is part of this.
        drop(self.over.subscribe().wait_for(|over| *over).await);
    }

    /// Whether it has ended, and this was asked before: who looks at the drains now and then has seen its end.
    pub(crate) fn was_told_over(&self) -> bool {
        self.is_over() && self.seen_over.swap(true, Ordering::Relaxed)
    }
}
