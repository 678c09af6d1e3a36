//! Receipts, through which the sender of a message learns that its envelopes were delivered further.
//!
//! A message that arrives over an acknowledged link gets a [`Receipt`] from the link's [`Tracker`]. Clones of the
//! receipt travel with every batch that is made from the message. Dropping the last clone settles the message: by then
//! each of its envelopes was delivered further, or dropped *and counted*. The link watches [`Tracker::progress`], and
//! acknowledges all messages up to a sequence number.
//!
//! There are two levels. A message is *handed on* when every consumer has it; the sender counts messages that are not
//! handed on when its peer vanishes. A message is *taken* when every durable consumer (the log cache) has it. A
//! producer that needs to know that its lines are stored waits for *taken*, which a live consumer that stalls does not
//! delay.
//!
//! A message that goes to several destinations has several branches ([`Receipt::for_branch`]). An envelope that is lost
//! on two branches is one lost envelope for its producer. So of each message the branch with the greatest loss counts.
//! That is exact if the branches lose the same envelopes, as queues do that drop whole messages or their oldest
//! envelopes first. It is never more than the number of envelopes that are missing somewhere.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Tracks which messages of one incoming link are settled.
#[derive(Debug, Default)]
pub struct Tracker {
    handed_on: Level,
    taken: Level,
    lost: AtomicU64,
    frozen: AtomicBool,
    changed: Notify,
}

/// The state of a link: every message up to and including these sequence numbers is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The sequence number up to which every consumer has the messages.
    pub handed_on: u64,
    /// The sequence number up to which every durable consumer has the messages.
    pub taken: u64,
    /// The number of envelopes that a durable consumer will never get, because they were dropped and counted.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Level(Mutex<Watermark>);

#[derive(Debug, Default)]
struct Watermark {
    settled_to: u64,
    /// The messages above `settled_to` that are settled; at most as many as are in flight.
    ahead: BTreeSet<u64>,
}

impl Level {
    fn settle(&self, sequence: u64) {
        let mut mark = self.0.lock();
        // Messages settle in order as a rule, and then the set stays empty.
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
    /// Returns a tracker for a new link.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Returns a receipt for message `sequence`. Messages are numbered from one without gaps.
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
            branch: 0,
            share: u64::MAX,
        }
    }

    /// Returns the current state.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            handed_on: self.handed_on.0.lock().settled_to,
            taken: self.taken.0.lock().settled_to,
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Stops tracking: receipts that are dropped from now on settle nothing. It is used for a consumer that leaves with
    /// unsettled messages, which the previous hop counts as lost.
    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::Release);
    }

    /// Waits until a message was settled since the last call. Cancel safe.
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
    /// The number of lost envelopes of the message, by branch.
    lost: Mutex<Vec<u64>>,
}

impl Drop for Token {
    fn drop(&mut self) {
        // After a freeze the previous hop counts the message as lost, so it must not be acknowledged.
        if self.tracker.frozen.load(Ordering::Acquire) {
            return;
        }
        match self.level {
            Which::HandedOn => self.tracker.handed_on.settle(self.sequence),
            Which::Taken => {
                // Before the message is settled, so that a reader that sees it settled also sees its loss.
                let lost = self.lost.get_mut().iter().copied().max().unwrap_or(0);
                self.tracker.lost.fetch_add(lost, Ordering::Relaxed);
                self.tracker.taken.settle(self.sequence);
            }
        }
        self.tracker.changed.notify_one();
    }
}

/// Stands for a message that arrived, and settles it when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Settles *handed on* when it is dropped.
    _handed_on: Arc<Token>,
    /// Settles *taken* when it is dropped.
    taken: Option<Arc<Token>>,
    /// The branch on which this clone travels.
    branch: usize,
    /// The number of this message's envelopes in a parcel that was put together of several messages.
    share: u64,
}

impl Receipt {
    /// Returns a clone for a consumer that is not durable. It delays *handed on*, but not *taken*.
    #[must_use]
    pub fn live(&self) -> Self {
        Self {
            _handed_on: Arc::clone(&self._handed_on),
            taken: None,
            branch: self.branch,
            share: self.share,
        }
    }

    /// Returns a clone for one branch of a message that goes to several destinations; branches are numbered from zero.
    #[must_use]
    pub fn for_branch(&self, branch: usize) -> Self {
        Self { branch, ..self.clone() }
    }

    /// Returns the receipt of a message whose `envelopes` become a part of a larger parcel.
    #[must_use]
    pub fn of_part(self, envelopes: usize) -> Self {
        Self {
            share: envelopes as u64,
            ..self
        }
    }

    /// Returns how many of the `lost` envelopes of its parcel can be of this message.
    pub(crate) fn part_of(&self, lost: u64) -> u64 {
        lost.min(self.share)
    }

    /// Releases *taken*, after the next hop reported that every durable consumer has the message.
    pub fn release_taken(&mut self) {
        self.taken = None;
    }

    /// Notes that `count` envelopes of the message were dropped on this branch. They are reported to the producer when
    /// the message is *taken*, if it waits for that.
    pub fn note_lost(&self, count: u64) {
        if let Some(token) = &self.taken {
            let mut lost = token.lost.lock();
            if lost.len() <= self.branch {
                lost.resize(self.branch + 1, 0);
            }
            lost[self.branch] += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages settle in any order, and the sequence number moves only over messages without a gap.
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

    /// A stalled live consumer delays *handed on* but not *taken*, and only losses of durable consumers are noted.
    #[test]
    fn live_clones_do_not_delay_taken() {
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

    /// Of a message with two branches, the greater loss counts. It is reported when both branches are settled, and the
    /// losses of another message are counted separately.
    #[test]
    fn an_envelope_lost_on_two_branches_is_counted_once() {
        let tracker = Tracker::new();
        let first = tracker.receipt(1);
        let second = first.for_branch(1);
        let lost = || (tracker.progress().taken, tracker.progress().lost);
        first.note_lost(2);
        first.note_lost(3);
        second.note_lost(4);
        drop(first);
        assert_eq!(lost(), (0, 0));
        drop(second);
        assert_eq!(lost(), (1, 5));
        tracker.receipt(2).for_branch(1).note_lost(1);
        assert_eq!(lost(), (2, 6));
    }
}
