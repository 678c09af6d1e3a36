//! What happens on one connection: whether anything is asked, and whether the answers are read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Without a first request for so long, a connection is over.
const FIRST: Duration = Duration::from_secs(10);

/// Without another request for so long, a connection is over. What was answered must be read by then, too.
const IDLE: Duration = Duration::from_secs(75);

/// A client that takes nothing of an answer for so long does not read.
pub(super) const STALLED: Duration = Duration::from_secs(60);

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing is asked.
    Idle,
    /// An answer is not read.
    Stalled,
}

/// What happens on one connection.
#[derive(Debug)]
pub(super) struct Activity {
    noted: Mutex<Noted>,
}

#[derive(Debug)]
struct Noted {
    /// Requests whose answers were not handed to the transport as a whole.
    under_way: usize,
    /// Since when there are none.
    idle: Instant,
    /// How long there may be none.
    patience: Duration,
    /// Answers of which the transport has a piece that it does not come back from, and since when.
    owed: BTreeMap<u64, Instant>,
    next: u64,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            noted: Mutex::new(Noted {
                under_way: 0,
                idle: Instant::now(),
                patience: FIRST,
                owed: BTreeMap::new(),
                next: 0,
            }),
        })
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        let mut noted = self.noted.lock();
        noted.under_way += 1;
        noted.patience = IDLE;
        noted.next += 1;
        Exchange {
            number: noted.next,
            activity: Arc::clone(self),
        }
    }

    /// Waits until the connection is over.
    pub(super) async fn over(&self) -> Over {
        loop {
            let (deadline, over) = self.deadline();
            if Instant::now() >= deadline {
                return over;
            }
            // Whatever begins from now on ends later.
            tokio::time::sleep_until(deadline).await;
        }
    }

    /// When the connection is over if nothing happens, or when to look again.
    fn deadline(&self) -> (Instant, Over) {
        let noted = self.noted.lock();
        let stalled = noted.owed.values().min().map(|since| *since + STALLED);
        match stalled {
            Some(deadline) => (deadline, Over::Stalled),
            None if noted.under_way == 0 => (noted.idle + noted.patience, Over::Idle),
            None => (Instant::now() + STALLED.min(IDLE), Over::Idle),
        }
    }
}

/// A request and its answer, until the transport has all of it or gave it up.
#[derive(Debug)]
pub(super) struct Exchange {
    number: u64,
    activity: Arc<Activity>,
}

impl Exchange {
    /// The transport came for more.
    pub(super) fn wanted(&self) {
        self.activity.noted.lock().owed.remove(&self.number);
    }

    /// The transport was given a piece, and comes back when it has room for another.
    pub(super) fn given(&self) {
        self.activity.noted.lock().owed.insert(self.number, Instant::now());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut noted = self.activity.noted.lock();
        noted.owed.remove(&self.number);
        noted.under_way -= 1;
        if noted.under_way == 0 {
            noted.idle = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn over_after(activity: &Activity) -> (Over, u64) {
        let start = Instant::now();
        let over = activity.over().await;
        (over, start.elapsed().as_secs())
    }

    /// Somebody who never asks is given less time than somebody who asked once.
    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection() {
        let activity = Activity::new();
        assert_eq!(over_after(&activity).await, (Over::Idle, 10));
        let activity = Activity::new();
        drop(activity.begin());
        assert_eq!(over_after(&activity).await, (Over::Idle, 75));
    }

    /// An answer that takes its time is no silence, and one that waits for us is not stalled.
    #[tokio::test(start_paused = true)]
    async fn who_waits_for_us_may_stay() {
        let activity = Activity::new();
        let exchange = activity.begin();
        exchange.given();
        tokio::time::sleep(59 * SECOND).await;
        exchange.wanted();
        let hour = tokio::time::timeout(3600 * SECOND, activity.over()).await;
        assert!(hour.is_err(), "{hour:?}");
        drop(exchange);
        let (over, after) = over_after(&activity).await;
        assert_eq!((over, (74..=76).contains(&after)), (Over::Idle, true));
    }

    /// The oldest piece that is not taken decides, however much the other answers move.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_over() {
        let activity = Activity::new();
        let (stuck, moving) = (activity.begin(), activity.begin());
        stuck.given();
        let move_on = async {
            loop {
                moving.given();
                tokio::time::sleep(SECOND).await;
                moving.wanted();
            }
        };
        let (over, after) = tokio::select! {
            over = over_after(&activity) => over,
            () = move_on => unreachable!(),
        };
        assert_eq!((over, after), (Over::Stalled, 60));
    }
}
