//! Receipts: how the sender upstream learns that what it handed over was handed on.
//!
//! A message that comes in over an acknowledged link gets a [`Receipt`] from the link's [`Tracker`]. Clones of it travel
//! with every batch cut from that message. Dropping the last clone settles the message: by then each of its envelopes was
//! delivered further, or dropped *and counted*. The link's writer watches [`Tracker::progress`] and acknowledges
//! cumulatively.
//!
//! There are two levels. *Handed on* is settled when every consumer has it; a sender that dies in between is accounted by
//! this. *Taken* is settled when every durable consumer (the log cache) has it: a producer that wants to know that its
//! lines are safe waits for this, and is never held up by somebody's stalled `cf logs`.
//!
//! A message that goes to several places goes several ways ([`Receipt::by_way`]). An envelope that is lost on two of them is
//! one lost envelope to its producer, so of each message the worst way counts. That is exact where ways lose alike, the
//! whole message or its oldest envelopes first, as queues do; it is never more than what is missing somewhere.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Keeps the books of one incoming link: which of its messages are settled.
#[derive(Debug, Default)]
pub struct Tracker {
    handed_on: Level,
    taken: Level,
    lost: AtomicU64,
    frozen: AtomicBool,
    changed: Notify,
}

/// The cumulative state of a link: every message up to and including these numbers is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Sequence number up to which every consumer has it.
    pub handed_on: u64,
    /// Sequence number up to which every durable consumer has it.
    pub taken: u64,
    /// Envelopes of this link that a durable consumer will never see, because they were dropped and counted.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Level(Mutex<Watermark>);

#[derive(Debug, Default)]
struct Watermark {
    settled_to: u64,
    /// Settled out of order, above `settled_to`; as many as there are messages in flight at the most.
    ahead: BTreeSet<u64>,
}

impl Level {
    fn settle(&self, sequence: u64) {
        let mut mark = self.0.lock();
        if sequence != mark.settled_to + 1 {
            mark.ahead.insert(sequence);
            return;
        }
        mark.settled_to = sequence;
        while let Some(next) = mark.ahead.first().copied().filter(|next| *next == mark.settled_to + 1) {
            mark.ahead.pop_first();
            mark.settled_to = next;
        }
    }
}

impl Tracker {
    /// Books for a new link.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A receipt for message `sequence`; messages are numbered from one without gaps.
    #[must_use]
    pub fn receipt(self: &Arc<Self>, sequence: u64) -> Receipt {
        let token = |level| {
            Arc::new(Token {
                tracker: Arc::clone(self),
                sequence,
                level,
                lost: Mutex::default(),
            })
        };
        Receipt {
            _handed_on: token(Which::HandedOn),
            taken: Some(token(Which::Taken)),
            way: 0,
            share: u64::MAX,
        }
    }

    /// What is settled so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            handed_on: self.handed_on.0.lock().settled_to,
            taken: self.taken.0.lock().settled_to,
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Ends the books: receipts that are dropped from now on settle nothing. For a consumer that goes away with messages
    /// in its hands, which the neighbour upstream will count.
    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::Release);
    }

    /// Waits until something was settled since the last call. Cancel safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[derive(Debug, Clone, Copy)]
enum Which {
    HandedOn,
    Taken,
}

#[derive(Debug)]
struct Token {
    tracker: Arc<Tracker>,
    sequence: u64,
    level: Which,
    /// Envelopes of the message that were lost, by way; empty while none was.
    lost: Mutex<Vec<u64>>,
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.tracker.frozen.load(Ordering::Acquire) {
            return;
        }
        match self.level {
            Which::HandedOn => self.tracker.handed_on.settle(self.sequence),
            Which::Taken => {
                // First, so that who sees the message settled knows what it has lost.
                let lost = self.lost.get_mut().iter().copied().max().unwrap_or(0);
                self.tracker.lost.fetch_add(lost, Ordering::Relaxed);
                self.tracker.taken.settle(self.sequence);
            }
        }
        self.tracker.changed.notify_one();
    }
}

/// Proof that a message came in; settles it when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Held for its `Drop`.
    _handed_on: Arc<Token>,
    taken: Option<Arc<Token>>,
    /// On which of several ways this clone travels.
    way: usize,
    /// How many envelopes of a parcel that was put together of several messages are this one's.
    share: u64,
}

impl Receipt {
    /// A clone for a consumer that is not durable: it holds up *handed on*, but not *taken*.
    #[must_use]
    pub fn live(&self) -> Self {
        Self {
            _handed_on: Arc::clone(&self._handed_on),
            taken: None,
            way: self.way,
            share: self.share,
        }
    }

    /// A clone for the way with this number, counted from zero, of a message that goes several ways.
    #[must_use]
    pub fn by_way(&self, way: usize) -> Self {
        Self { way, ..self.clone() }
    }

    /// The receipt of a message whose `envelopes` become a part of a larger parcel.
    #[must_use]
    pub fn of_part(self, envelopes: usize) -> Self {
        Self {
            share: envelopes as u64,
            ..self
        }
    }

    /// How many of `lost` envelopes of its parcel are of this message at the most.
    pub(crate) fn part_of(&self, lost: u64) -> u64 {
        lost.min(self.share)
    }

    /// Lets go of *taken*: the next hop said that every durable consumer has the message.
    pub fn release_taken(&mut self) {
        self.taken = None;
    }

    /// Notes that `count` envelopes of the message were dropped on this way; the producer is told when the message is *taken*,
    /// if it waits for that.
    pub fn note_lost(&self, count: u64) {
        if let Some(token) = &self.taken {
            let mut lost = token.lost.lock();
            if lost.len() <= self.way {
                lost.resize(self.way + 1, 0);
            }
            lost[self.way] += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages settle in any order; the acknowledged number moves only over a gapless run.
    #[test]
    fn progress_is_cumulative() {
        let tracker = Tracker::new();
        let (one, two, three) = (tracker.receipt(1), tracker.receipt(2), tracker.receipt(3));
        drop(two);
        assert_eq!(tracker.progress().handed_on, 0);
        drop(one);
        assert_eq!(tracker.progress().handed_on, 2);
        drop(three);
        assert_eq!(
            tracker.progress(),
            Progress {
                handed_on: 3,
                taken: 3,
                lost: 0
            }
        );
    }

    /// A stalled live consumer holds up *handed on* but not *taken*; losses are noted only on durable paths.
    #[test]
    fn live_clones_do_not_hold_up_taken() {
        let tracker = Tracker::new();
        let durable = tracker.receipt(1);
        let live = durable.live();
        live.note_lost(5);
        durable.note_lost(2);
        drop(durable);
        assert_eq!(
            tracker.progress(),
            Progress {
                handed_on: 0,
                taken: 1,
                lost: 2
            }
        );
        drop(live);
        assert_eq!(tracker.progress().handed_on, 1);
    }

    /// Setup: a message that goes two ways. Must hold: what is lost on both is lost once, the worse way counts, and the producer
    /// is told when the message is settled on both; another message is counted for itself.
    #[test]
    fn what_is_lost_on_two_ways_is_lost_once() {
        let tracker = Tracker::new();
        let first = tracker.receipt(1);
        let second = first.by_way(1);
        let lost = || (tracker.progress().taken, tracker.progress().lost);
        first.note_lost(2);
        first.note_lost(3);
        second.note_lost(4);
        drop(first);
        assert_eq!(lost(), (0, 0));
        drop(second);
        assert_eq!(lost(), (1, 5));
        tracker.receipt(2).by_way(1).note_lost(1);
        assert_eq!(lost(), (2, 6));
    }
}
