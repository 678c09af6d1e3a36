//! How much disk all spills of the agent may use together.
//!
//! While there is room everybody may take it. At the limit the spill that holds the most gives up: if that is the one
//! that wants to write, its own oldest segment goes; if it is a neighbour, the neighbour is asked to give up as much, and
//! the writer goes on. A neighbour that does not answer (its disk hangs) is waited for until a sixteenth above the limit;
//! from there on the writer pays itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The limit, and who uses how much of it.
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

/// What a spill is asked to give up, in bytes.
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

    /// How much; asks no more for it.
    pub(crate) fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

/// What a spill that wants to write is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is room, or there will be.
    Write,
    /// Its own oldest segment has to go first.
    GiveUp,
}

impl Budget {
    /// So many bytes for all spills together.
    pub(crate) fn new(total: u64) -> Arc<Self> {
        Arc::new(Self {
            total,
            state: Mutex::default(),
        })
    }

    /// Bytes in use.
    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.state.lock().used
    }

    /// The part of one more spill.
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

/// One spill's part of the budget; gives it back when it is dropped.
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

    /// Whether `size` more bytes may be written now.
    pub(super) fn verdict(&self, size: u64) -> Verdict {
        let state = self.budget.state.lock();
        let total = self.budget.total;
        let after = state.used.saturating_add(size);
        if after <= total {
            return Verdict::Write;
        }
        let largest = state.holders.iter().max_by_key(|(_, holder)| holder.used);
        match largest {
            Some((key, holder)) if *key != self.key && after <= total.saturating_add(total / 16) => {
                // Asking again for what was asked for already changes nothing.
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
