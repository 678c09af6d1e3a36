//! Taps: followers that get new rows as they arrive.
//!
//! A follower of a kind gets a copy of its new rows, in the order of arrival, through a queue that is bounded in
//! batches and in bytes. The store never waits for a follower. If the queue is full, the rows are counted instead, and
//! the follower gets that number before the next rows. For a follower that may read only some sources, only rows of
//! those sources are counted, so that it learns nothing of the others.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::chunk::Active;
use crate::rows::Rows;

/// The greatest size of the rows that wait for one follower, in bytes. A single batch may be larger.
const QUEUED_BYTES: usize = 8 << 20;

/// The next item for a follower.
#[derive(Debug, Clone)]
pub enum TapEvent {
    /// New rows, in the order of arrival.
    Rows(Arc<Rows>),
    /// The number of rows that were not delivered because the follower was too slow. They are in the store.
    Missed(u64),
}

/// The counters that store and follower share.
#[derive(Debug, Default)]
struct TapCounters {
    /// The number of rows that were not queued and not reported yet.
    missed: AtomicU64,
    /// The size of the rows in the queue, in bytes.
    queued: AtomicUsize,
}

/// The receiving end of a tap, for the follower.
#[derive(Debug)]
pub struct Tap {
    rows: mpsc::Receiver<Arc<Rows>>,
    counters: Arc<TapCounters>,
    /// Rows that come after a gap which had to be reported first.
    held: Option<Arc<Rows>>,
}

impl Tap {
    /// Waits for the next item; `None` if the store was dropped. Cancel safe.
    pub async fn next(&mut self) -> Option<TapEvent> {
        if let Some(rows) = self.held.take() {
            return Some(TapEvent::Rows(rows));
        }
        let rows = self.rows.recv().await?;
        self.counters.queued.fetch_sub(rows.bytes(), Ordering::Relaxed);
        match self.counters.missed.swap(0, Ordering::Relaxed) {
            0 => Some(TapEvent::Rows(rows)),
            missed => {
                self.held = Some(rows);
                Some(TapEvent::Missed(missed))
            }
        }
    }
}

/// Counts the rows of a batch that a follower may know of.
pub(crate) struct CountVisible(pub(crate) Box<dyn Fn(&Rows) -> usize + Send + Sync>);

impl fmt::Debug for CountVisible {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CountVisible(..)")
    }
}

/// The sending end of a tap, in the store.
#[derive(Debug)]
struct TapSender {
    rows: mpsc::Sender<Arc<Rows>>,
    counters: Arc<TapCounters>,
    count_visible: CountVisible,
}

/// The taps of one kind.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    taps: Vec<TapSender>,
    /// The number of rows of the active part that were published, or that arrived before there was a follower.
    published: usize,
}

impl Taps {
    /// Adds a follower, which gets the rows that arrive from now on.
    pub(crate) fn add(&mut self, capacity: usize, count_visible: CountVisible, active: &Active) -> Tap {
        self.publish(active);
        let (sender, rows) = mpsc::channel(capacity.max(1));
        let counters = Arc::default();
        self.taps.push(TapSender {
            rows: sender,
            counters: Arc::clone(&counters),
            count_visible,
        });
        self.published = active.len();
        Tap {
            rows,
            counters,
            held: None,
        }
    }

    /// Sends the rows that arrived since the last call to all followers. It must be called before the active part is
    /// cleared.
    #[inline]
    pub(crate) fn publish(&mut self, active: &Active) {
        if self.taps.is_empty() || self.published == active.len() {
            return;
        }
        let rows = Arc::new(active.since(self.published));
        // Also if a queue is full: rows that are counted as missed must not be sent later.
        self.published = active.len();
        let bytes = rows.bytes();
        self.taps.retain(|sender| {
            let counters = &sender.counters;
            // Reserved before the send, because the follower may receive the rows and subtract their bytes at once.
            let queued = counters.queued.fetch_add(bytes, Ordering::Relaxed);
            let sent = if queued > 0 && queued + bytes > QUEUED_BYTES {
                Err(TrySendError::Full(()))
            } else {
                sender.rows.try_send(Arc::clone(&rows)).map_err(|error| match error {
                    TrySendError::Full(_) => TrySendError::Full(()),
                    TrySendError::Closed(_) => TrySendError::Closed(()),
                })
            };
            if sent.is_err() {
                counters.queued.fetch_sub(bytes, Ordering::Relaxed);
            }
            if matches!(sent, Err(TrySendError::Full(()))) {
                counters
                    .missed
                    .fetch_add((sender.count_visible.0)(&rows) as u64, Ordering::Relaxed);
            }
            !matches!(sent, Err(TrySendError::Closed(())))
        });
    }

    /// Notes that the active part was cleared.
    pub(crate) const fn restart(&mut self) {
        self.published = 0;
    }
}
