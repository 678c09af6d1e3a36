//! Live taps: rows as they arrive.
//!
//! Whoever follows a kind gets a copy of its new rows, in the order of arrival, through a queue that is bounded in batches
//! and in bytes. The store never waits for a follower: when the queue is full the rows are not queued, their number is
//! noted, and the follower learns it before the next rows. A follower that may not know of all rows has those counted
//! that it may know of: it learns of no others, not even that there were some.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::chunk::Active;
use crate::rows::Rows;

/// Bytes of rows that wait for one follower. A single batch may be larger.
const QUEUED_BYTES: usize = 8 << 20;

/// What a follower gets.
#[derive(Debug, Clone)]
pub enum Tapped {
    /// New rows, in the order of arrival.
    Rows(Arc<Rows>),
    /// This many rows that the follower may know of were not delivered because it was too slow. They are in the store.
    Missed(u64),
}

/// What store and follower both count.
#[derive(Debug, Default)]
struct Account {
    /// Rows that did not fit and were not told of yet.
    missed: AtomicU64,
    /// Bytes in the queue.
    queued: AtomicUsize,
}

/// One follower's end.
#[derive(Debug)]
pub struct Tap {
    rows: mpsc::Receiver<Arc<Rows>>,
    account: Arc<Account>,
    /// Rows that came behind a gap that has to be told first.
    held: Option<Arc<Rows>>,
}

impl Tap {
    /// Waits for what comes next; `None` if the store is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Tapped> {
        if let Some(rows) = self.held.take() {
            return Some(Tapped::Rows(rows));
        }
        let rows = self.rows.recv().await?;
        self.account.queued.fetch_sub(rows.bytes(), Ordering::Relaxed);
        match self.account.missed.swap(0, Ordering::Relaxed) {
            0 => Some(Tapped::Rows(rows)),
            missed => {
                self.held = Some(rows);
                Some(Tapped::Missed(missed))
            }
        }
    }
}

/// Counts the rows that a follower may know of.
pub(crate) struct Shown(pub(crate) Box<dyn Fn(&Rows) -> usize + Send + Sync>);

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shown(..)")
    }
}

/// The store's end of a tap.
#[derive(Debug)]
struct Outlet {
    rows: mpsc::Sender<Arc<Rows>>,
    account: Arc<Account>,
    shown: Shown,
}

/// The taps of one kind.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    taps: Vec<Outlet>,
    /// Rows of the active part that were handed out, or came before anybody listened.
    published: usize,
}

impl Taps {
    /// Adds a follower who sees what comes behind the first `published` rows of the active part.
    pub(crate) fn add(&mut self, capacity: usize, shown: Shown, active: &Active) -> Tap {
        self.publish(active);
        let (sender, rows) = mpsc::channel(capacity.max(1));
        let account = Arc::default();
        self.taps.push(Outlet {
            rows: sender,
            account: Arc::clone(&account),
            shown,
        });
        self.published = active.len();
        Tap {
            rows,
            account,
            held: None,
        }
    }

    /// Hands out the rows that came since the last call. To be called before the active part is cleared.
    #[inline]
    pub(crate) fn publish(&mut self, active: &Active) {
        if self.taps.is_empty() || self.published == active.len() {
            return;
        }
        let rows = Arc::new(active.since(self.published));
        self.published = active.len();
        let bytes = rows.bytes();
        self.taps.retain(|outlet| {
            let account = &outlet.account;
            let queued = account.queued.fetch_add(bytes, Ordering::Relaxed);
            let sent = if queued > 0 && queued + bytes > QUEUED_BYTES {
                Err(TrySendError::Full(()))
            } else {
                outlet.rows.try_send(Arc::clone(&rows)).map_err(|error| match error {
                    TrySendError::Full(_) => TrySendError::Full(()),
                    TrySendError::Closed(_) => TrySendError::Closed(()),
                })
            };
            if sent.is_err() {
                account.queued.fetch_sub(bytes, Ordering::Relaxed);
            }
            if matches!(sent, Err(TrySendError::Full(()))) {
                account
                    .missed
                    .fetch_add((outlet.shown.0)(&rows) as u64, Ordering::Relaxed);
            }
            !matches!(sent, Err(TrySendError::Closed(())))
        });
    }

    /// The active part was cleared.
    pub(crate) const fn restart(&mut self) {
        self.published = 0;
    }
}
