//! What happens on one connection: whether anything is asked, and whether the answers are read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::port::UnderWay;

/// Without a first request for so long, a connection is over.
const FIRST: Duration = Duration::from_secs(10);

/// Without another request for so long, a connection is over. What was answered must be read by then, too.
const IDLE: Duration = Duration::from_secs(75);

/// A client that takes nothing of an answer for so long does not read,
const STALLED: Duration = Duration::from_secs(60);

/// provided that it had the time to read what it took before, at this speed (bytes per second). HTTP/2's windows and the
/// kernel's buffers are large, and clients make room in them by halves: one that reads slowly all the time seems to take
/// nothing for a while.
const SLOWEST: u64 = 16 * 1024;

/// No client has more than this to read before it makes room: 4 MiB.
const LONGEST_READING: Duration = Duration::from_secs(256);

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
    /// Requests that were not answered, or whose answers were not sent as a whole.
    under_way: BTreeMap<u64, Sending>,
    /// Since when there are none.
    idle: Instant,
    /// How long there may be none.
    patience: Duration,
    next: u64,
}

/// What the transport has of an answer.
#[derive(Debug)]
struct Sending {
    /// Pieces that were not sent yet.
    pieces: usize,
    /// When a slow client has read all that was given to it.
    read_by: Instant,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            noted: Mutex::new(Noted {
                under_way: BTreeMap::new(),
                idle: Instant::now(),
                patience: FIRST,
                next: 0,
            }),
        })
    }

    /// A request has come, which is `under_way` on its connection until its answer was sent.
    pub(super) fn begin(self: &Arc<Self>, under_way: impl Into<Option<UnderWay>>) -> Exchange {
        let mut noted = self.noted.lock();
        noted.patience = IDLE;
        noted.next += 1;
        let number = noted.next;
        let sending = Sending {
            pieces: 0,
            read_by: Instant::now(),
        };
        noted.under_way.insert(number, sending);
        Exchange {
            number,
            activity: Arc::clone(self),
            _under_way: under_way.into(),
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
        let waiting = noted.under_way.values().filter(|sending| sending.pieces > 0);
        let stalled = waiting.map(|sending| sending.read_by + STALLED).min();
        match stalled {
            Some(deadline) => (deadline, Over::Stalled),
            None if noted.under_way.is_empty() => (noted.idle + noted.patience, Over::Idle),
            None => (Instant::now() + STALLED.min(IDLE), Over::Idle),
        }
    }
}

/// A request and its answer, until the transport has sent all of it or gave it up.
#[derive(Debug)]
pub(super) struct Exchange {
    number: u64,
    activity: Arc<Activity>,
    _under_way: Option<UnderWay>,
}

impl Exchange {
    /// The transport was given a piece of so many bytes.
    pub(super) fn given(&self, bytes: usize) {
        self.note(|sending| {
            sending.pieces += 1;
            let now = Instant::now();
            let reading = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / SLOWEST);
            sending.read_by = (sending.read_by.max(now) + reading).min(now + LONGEST_READING);
        });
    }

    /// It has sent one, or given it up.
    pub(super) fn taken(&self) {
        self.note(|sending| {
            sending.pieces -= 1;
            sending.read_by = sending.read_by.max(Instant::now());
        });
    }

    fn note(&self, what: impl FnOnce(&mut Sending)) {
        if let Some(sending) = self.activity.noted.lock().under_way.get_mut(&self.number) {
            what(sending);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut noted = self.activity.noted.lock();
        noted.under_way.remove(&self.number);
        if noted.under_way.is_empty() {
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
        drop(activity.begin(None));
        assert_eq!(over_after(&activity).await, (Over::Idle, 75));
    }

    /// An answer that takes its time is no silence, and one that waits for us is not stalled.
    #[tokio::test(start_paused = true)]
    async fn who_waits_for_us_may_stay() {
        let activity = Activity::new();
        let exchange = activity.begin(None);
        exchange.given(1);
        tokio::time::sleep(59 * SECOND).await;
        exchange.taken();
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
        let (stuck, moving) = (activity.begin(None), activity.begin(None));
        stuck.given(1);
        let move_on = async {
            loop {
                moving.given(1);
                tokio::time::sleep(SECOND).await;
                moving.taken();
            }
        };
        let (over, after) = tokio::select! {
            over = over_after(&activity) => over,
            () = move_on => unreachable!(),
        };
        assert_eq!((over, after), (Over::Stalled, 60));
    }

    /// Who makes room only when a mebibyte was read is given the time for that, and no more.
    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_waited_for() {
        const MEBIBYTE: usize = 1 << 20;
        let activity = Activity::new();
        let exchange = activity.begin(None);
        for _ in 0..10 {
            exchange.given(MEBIBYTE);
            exchange.given(1);
            tokio::time::sleep(100 * SECOND).await;
            assert!(activity.deadline().0 > Instant::now());
            exchange.taken();
            exchange.taken();
        }
        exchange.given(100 * MEBIBYTE);
        let (over, after) = over_after(&activity).await;
        assert_eq!((over, after), (Over::Stalled, 256 + 60));
    }
}
