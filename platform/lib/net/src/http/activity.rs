//! The activity of one connection: whether there are requests, and whether the client reads their answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::port::UnderWay;

/// How long a connection may stay open without a first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may stay open without another request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client may take nothing of an answer before it counts as stalled. The time that a slow client needs to
/// read what it has taken before ([`SLOWEST_CLIENT`]) is added.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The lowest speed at which a client has to read, in bytes per second. HTTP/2's windows and the kernel's buffers are
/// large, and clients make room in them by halves. A client that reads slowly all the time seems to take nothing for a
/// while.
const SLOWEST_CLIENT: u64 = 16 * 1024;

/// The longest time that is granted for reading what was taken. It is the time for 4 MiB, and no client has more than
/// that to read before it makes room.
const LONGEST_READING: Duration = Duration::from_secs(256);

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// There are no requests.
    Idle,
    /// The client does not read an answer.
    Stalled,
}

/// The activity of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    noted: Mutex<Noted>,
}

#[derive(Debug)]
struct Noted {
    /// The requests that were not answered, or whose answers were not sent completely, by their numbers.
    under_way: BTreeMap<u64, Sending>,
    /// Since when no request is under way.
    idle_since: Instant,
    /// How long there may be no request under way.
    idle_timeout: Duration,
    last_number: u64,
}

/// The part of an answer that the transport has.
#[derive(Debug)]
struct Sending {
    /// Pieces that were not sent yet.
    pieces: usize,
    /// When a client that reads at the lowest speed has read all that was given to it.
    read_by: Instant,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            noted: Mutex::new(Noted {
                under_way: BTreeMap::new(),
                idle_since: Instant::now(),
                idle_timeout: FIRST_REQUEST_TIMEOUT,
                last_number: 0,
            }),
        })
    }

    /// Notes a new request, which is `under_way` on its connection until its answer was sent.
    pub(super) fn begin(self: &Arc<Self>, under_way: impl Into<Option<UnderWay>>) -> Exchange {
        let mut noted = self.noted.lock();
        // The shorter timeout is for clients that connect and never send a request.
        noted.idle_timeout = IDLE_TIMEOUT;
        noted.last_number += 1;
        let number = noted.last_number;
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

    /// Waits until the connection is to be closed, and returns why.
    pub(super) async fn close_reason(&self) -> CloseReason {
        loop {
            let (deadline, close_reason) = self.deadline();
            if Instant::now() >= deadline {
                return close_reason;
            }
            // There is no need to wake up earlier: a request or a piece that begins from now on has a later deadline.
            tokio::time::sleep_until(deadline).await;
        }
    }

    /// When the connection is to be closed if nothing happens, or when to look again.
    fn deadline(&self) -> (Instant, CloseReason) {
        let noted = self.noted.lock();
        let waiting = noted.under_way.values().filter(|sending| sending.pieces > 0);
        let stalled = waiting.map(|sending| sending.read_by + STALL_TIMEOUT).min();
        match stalled {
            Some(deadline) => (deadline, CloseReason::Stalled),
            None if noted.under_way.is_empty() => (noted.idle_since + noted.idle_timeout, CloseReason::Idle),
            // The service is at work on an answer. The earliest deadline that could begin in the meantime is this far
            // away.
            None => (Instant::now() + STALL_TIMEOUT.min(IDLE_TIMEOUT), CloseReason::Idle),
        }
    }
}

/// A request and its answer, until the transport has sent the whole answer or has given it up.
#[derive(Debug)]
pub(super) struct Exchange {
    number: u64,
    activity: Arc<Activity>,
    _under_way: Option<UnderWay>,
}

impl Exchange {
    /// Notes that the transport was given a piece of `bytes` bytes.
    pub(super) fn given(&self, bytes: usize) {
        self.note(|sending| {
            sending.pieces += 1;
            let now = Instant::now();
            let reading = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / SLOWEST_CLIENT);
            sending.read_by = (sending.read_by.max(now) + reading).min(now + LONGEST_READING);
        });
    }

    /// Notes that the transport has sent a piece, or has given it up.
    pub(super) fn taken(&self) {
        self.note(|sending| {
            sending.pieces -= 1;
            // A client that takes a piece is reading, so it is not stalled before the whole timeout has passed again.
            sending.read_by = sending.read_by.max(Instant::now());
        });
    }

    fn note(&self, change: impl FnOnce(&mut Sending)) {
        if let Some(sending) = self.activity.noted.lock().under_way.get_mut(&self.number) {
            change(sending);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut noted = self.activity.noted.lock();
        noted.under_way.remove(&self.number);
        if noted.under_way.is_empty() {
            noted.idle_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn closed_after(activity: &Activity) -> (CloseReason, u64) {
        let start = Instant::now();
        let close_reason = activity.close_reason().await;
        (close_reason, start.elapsed().as_secs())
    }

    /// A connection without any request is closed earlier than one that has had a request.
    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed() {
        let activity = Activity::new();
        assert_eq!(closed_after(&activity).await, (CloseReason::Idle, 10));
        let activity = Activity::new();
        drop(activity.begin(None));
        assert_eq!(closed_after(&activity).await, (CloseReason::Idle, 75));
    }

    /// A connection is neither idle nor stalled while its client waits for the service.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_the_service_stays() {
        let activity = Activity::new();
        let exchange = activity.begin(None);
        exchange.given(1);
        tokio::time::sleep(59 * SECOND).await;
        exchange.taken();
        let hour = tokio::time::timeout(3600 * SECOND, activity.close_reason()).await;
        assert!(hour.is_err(), "{hour:?}");
        drop(exchange);
        let (close_reason, after) = closed_after(&activity).await;
        assert_eq!((close_reason, (74..=76).contains(&after)), (CloseReason::Idle, true));
    }

    /// One answer that is not read makes the connection stalled, even if the client reads another one.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_stalled() {
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
        let (close_reason, after) = tokio::select! {
            close_reason = closed_after(&activity) => close_reason,
            () = move_on => unreachable!(),
        };
        assert_eq!((close_reason, after), (CloseReason::Stalled, 60));
    }

    /// A slow client that makes room only when it has read a mebibyte is given the time for that, and no more.
    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_given_time_to_read() {
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
        let (close_reason, after) = closed_after(&activity).await;
        assert_eq!((close_reason, after), (CloseReason::Stalled, 256 + 60));
    }
}
