//! One drain: its queue, its task, its backlog and its account.
//!
//! ```text
//! router ─▶ Queue ─────────────────────────────▶ Packer ─▶ weir_drain::Sender ─▶ the drain
//!             └──▶ Backlog (disk) ──▶ Load ──▶ ─┘   ▲          │
//!                   while it is away or slow         └─ again ─ Flight ◀─ Outcomes
//! ```
//!
//! A drain is identified by its binding, never by its URL. All its work runs in one [`task`], so that one drain cannot
//! delay another. Once something was written to disk, all later envelopes go through the disk until it has been read
//! back. This keeps the order.
//!
//! **Receipts.** The receipt of an envelope is released when the envelope is in the drain's socket, acknowledged by the
//! drain, on disk, or dropped and counted. An envelope that stays in memory longer than `spill.after`, in the queue or
//! in a connection that does not accept it, is copied to disk. So a slow drain never blocks a producer.
//!
//! **Sending again.** TCP does not acknowledge messages. What was written shortly before a connection broke is sent
//! again, at most as much as the transport's resend window holds. A message at which connections break repeatedly is
//! found and set aside ([`trials`]).

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

/// State that all drains of an agent share.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) terms: Terms,
    pub(crate) settings: Settings,
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) budget: Arc<Budget>,
    /// The directory that contains all backlogs.
    pub(crate) spill: PathBuf,
    /// The number of bytes in shipments that are in flight, over all drains.
    pub(crate) in_flight_bytes: AtomicUsize,
    /// The value of `in_flight_bytes` above which each drain may have only one shipment in flight.
    pub(crate) max_in_flight_bytes: usize,
    /// Notified when the state of a drain has changed and should be reported.
    pub(crate) status_changed: Notify,
    /// The number of envelopes that were given to drains, counted once for each drain.
    pub(crate) routed: AtomicU64,
}

impl Env {
    /// Returns the directory of the backlog of `binding`.
    pub(crate) fn folder(&self, binding: &Binding) -> PathBuf {
        self.spill.join(binding.id.to_string())
    }
}

/// The mode of the task of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Deliver envelopes.
    Run,
    /// The binding was removed: deliver until this time, and then count the rest as lost.
    Remove(Instant),
    /// The agent is stopping: deliver until this time, and then write the rest to disk.
    Stop(Instant),
}

/// The state that the manager wants of the task of a drain.
#[derive(Debug, Clone)]
struct Control {
    binding: Arc<Binding>,
    order: Order,
    /// The number of signs, so far, that the drain can be reached again.
    signs: u64,
}

/// A drain as the rest of the agent sees it.
#[derive(Debug)]
pub(crate) struct Drain {
    /// A number that no other drain of this process has, not even a later one of the same binding.
    pub(crate) serial: u64,
    binding: RwLock<Arc<Binding>>,
    pub(crate) queue: Queue,
    pub(crate) account: Account,
    pub(crate) status: Status,
    control: watch::Sender<Control>,
    /// Whether the queue overflows because the disk failed. It decides the reason with which losses are counted.
    disk_failed: AtomicBool,
    connected: AtomicBool,
    /// Whether the task has begun to end. It accepts no envelopes any more.
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

    /// Starts a drain. `found` says that a previous run of the agent left a backlog for it.
    pub(crate) fn start(binding: Arc<Binding>, env: &Arc<Env>, found: bool) -> Arc<Self> {
        let drain = Self::new(binding, env, State::Connecting);
        let task = task::Task::new(Arc::clone(&drain), Arc::clone(env), found);
        env.tasks.spawn("drain", task.run());
        drain
    }

    /// Creates a drain beyond the limit of its app. It has no task, and nothing is ever sent to it.
    pub(crate) fn over_limit(binding: Arc<Binding>, env: &Env) -> Arc<Self> {
        Self::new(binding, env, State::OverLimit)
    }

    /// Returns the binding that the drain serves.
    pub(crate) fn binding(&self) -> Arc<Binding> {
        Arc::clone(&self.binding.read())
    }

    /// Adds a parcel to the queue without waiting. Envelopes that are discarded to make room are counted as lost.
    pub(crate) fn push(&self, parcel: Parcel, now: Instant) {
        self.account.route(parcel.batch.len() as u64);
        let losses = self.queue.push(parcel, now);
        if !losses.is_empty() {
            self.account.lose(self.overflow(), &losses);
        }
    }

    /// Returns the reason with which losses of the queue are counted.
    fn overflow(&self) -> Reason {
        if self.ending.load(Ordering::Relaxed) {
            Reason::ConsumerGone
        } else if self.disk_failed.load(Ordering::Relaxed) {
            Reason::SpillFailed
        } else {
            Reason::BufferFull
        }
    }

    /// Changes what the task has to do.
    pub(crate) fn order(&self, order: Order) {
        self.control.send_modify(|control| control.order = order);
    }

    /// Tells the task that the drain may be reachable again, so that it tries now and not at the end of its pause.
    pub(crate) fn retry_now(&self) {
        self.control.send_modify(|control| control.signs += 1);
    }

    /// Returns whether the drain's address is this [place](weir_drain::DrainUrl::place).
    pub(crate) fn is_at(&self, place: &str) -> bool {
        self.binding.read().url.host_and_port() == place
    }

    /// Replaces the binding, because its credentials were rotated or its app was renamed. The drain goes on under the
    /// new id.
    pub(crate) fn rebind(&self, binding: Arc<Binding>) {
        *self.binding.write() = Arc::clone(&binding);
        self.control.send_modify(|control| {
            control.binding = binding;
            control.order = Order::Run;
        });
    }

    /// Returns whether the drain is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Returns whether the task has ended: the drain was removed, or the agent stopped.
    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Returns whether the task has begun to end and takes no other order.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Waits until the task has ended.
    pub(crate) async fn ended(&self) {
        // Waiting can only fail if the sender is dropped, and `self` holds it.
        drop(self.over.subscribe().wait_for(|over| *over).await);
    }

    /// Returns whether the drain has ended and this was asked before. So its end is visible for one round of the
    /// caller.
    pub(crate) fn end_was_seen(&self) -> bool {
        self.is_over() && self.seen_over.swap(true, Ordering::Relaxed)
    }
}
