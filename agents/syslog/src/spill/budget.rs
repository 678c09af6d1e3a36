//! The disk space that all spills of the agent use together.
//!
//! While there is space, every spill may use it. At the limit, the spill that uses the most has to give up space. If
//! this is the writer itself, its own oldest segment is discarded first. If it is another one, that one is asked to
//! give up as much as is needed, and the writer goes on. If the other one does not react, for example because its disk
//! hangs, the total may grow to a sixteenth above the limit. From there on the writer has to give up its own segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The limit, and how much of it each spill uses.
#[derive(Debug)]
pub(crate) struct Budget {
    total: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    next: u64,
    holders: AHashMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    used: u64,
    owed: Arc<Owed>,
}

/// The number of bytes that a spill is asked to give up.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    bytes: AtomicU64,
    asked: Notify,
}

impl Owed {
    /// Waits until space is asked for. Cancel safe.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Returns how many bytes are asked for, and resets the number.
    pub(crate) fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

/// The answer to a spill that wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is space, or there will be.
    Write,
    /// The spill has to discard its own oldest segment first.
    GiveUp,
}

impl Budget {
    /// Creates a budget of `total` bytes for all spills together.
    pub(crate) fn new(total: u64) -> Arc<Self> {
        Arc::new(Self {
            total,
            state: Mutex::default(),
        })
    }

    /// Returns the number of bytes in use.
    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.state.lock().used
    }

    /// Returns the share of one more spill.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        let mut state = self.state.lock();
        let key = state.next;
        state.next += 1;
        let owed = Arc::<Owed>::default();
        let holder = Holder {
            used: 0,
            owed: Arc::clone(&owed),
        };
        state.holders.insert(key, holder);
        Share {
            budget: Arc::clone(self),
            key,
            used: 0,
            owed,
        }
    }
}

/// The share of one spill. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    key: u64,
    used: u64,
    owed: Arc<Owed>,
}

impl Share {
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn owed(&self) -> Arc<Owed> {
        Arc::clone(&self.owed)
    }

    /// Returns whether `size` more bytes may be written now.
    pub(super) fn verdict(&self, size: u64) -> Verdict {
        let state = self.budget.state.lock();
        let total = self.budget.total;
        let after = state.used.saturating_add(size);
        if after <= total {
            return Verdict::Write;
        }
        let largest = state.holders.iter().max_by_key(|(_, holder)| holder.used);
        match largest {
            // The largest holder gives way to a smaller one. A sixteenth above the total is allowed meanwhile, because
            // it frees its space in its own task.
            Some((key, holder)) if *key != self.key && after <= total.saturating_add(total / 16) => {
                // `fetch_max` and not an addition: asking for the same space twice must not double it.
                holder.owed.bytes.fetch_max(after - total, Ordering::Relaxed);
                holder.owed.asked.notify_one();
                Verdict::Write
            }
            _ => Verdict::GiveUp,
        }
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.used += bytes;
        self.update(|state, holder| {
            *state += bytes;
            *holder += bytes;
        });
    }

    pub(super) fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
        self.update(|state, holder| {
            *state = state.saturating_sub(bytes);
            *holder = holder.saturating_sub(bytes);
        });
    }

    fn update(&self, change: impl FnOnce(&mut u64, &mut u64)) {
        let mut state = self.budget.state.lock();
        let State { used, holders, .. } = &mut *state;
        if let Some(holder) = holders.get_mut(&self.key) {
            change(used, &mut holder.used);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        state.used = state.used.saturating_sub(self.used);
        state.holders.remove(&self.key);
    }
}
