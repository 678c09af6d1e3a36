//! Live taps: rows as they arrive.
//!
//! Whoever follows a kind gets a copy of its new rows, in the order of arrival, through a bounded queue. The store never
//! waits for a follower: when the queue is full the rows are not queued, their number is noted, and the follower learns
//! it before the next rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::chunk::Active;
use crate::rows::Rows;

/// What a follower gets.
#[derive(Debug, Clone)]
pub enum Tapped {
    /// New rows, in the order of arrival.
    Rows(Arc<Rows>),
    /// This many rows were not delivered because the follower was too slow. They are in the store.
    Missed(u64),
}

/// One follower's end.
#[derive(Debug)]
pub struct Tap {
    rows: mpsc::Receiver<Arc<Rows>>,
    missed: Arc<AtomicU64>,
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
        match self.missed.swap(0, Ordering::Relaxed) {
            0 => Some(Tapped::Rows(rows)),
            missed => {
                self.held = Some(rows);
                Some(Tapped::Missed(missed))
            }
        }
    }
}

/// The taps of one kind.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    taps: Vec<(mpsc::Sender<Arc<Rows>>, Arc<AtomicU64>)>,
    /// Rows of the active part that were handed out, or came before anybody listened.
    published: usize,
}

impl Taps {
    /// Adds a follower who sees what comes behind the first `published` rows of the active part.
    pub(crate) fn add(&mut self, capacity: usize, active: &Active) -> Tap {
        self.publish(active);
        let (sender, rows) = mpsc::channel(capacity.max(1));
        let missed = Arc::default();
        self.taps.push((sender, Arc::clone(&missed)));
        self.published = active.len();
        Tap {
            rows,
            missed,
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
        self.taps.retain(|(tap, missed)| match tap.try_send(Arc::clone(&rows)) {
            Ok(()) => true,
            Err(TrySendError::Full(rows)) => {
                missed.fetch_add(rows.len() as u64, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        });
    }

    /// The active part was cleared.
    pub(crate) const fn restart(&mut self) {
        self.published = 0;
    }
}
