//! Decides when to ping a client, and when to give it up.
//!
//! The times are the original's: a ping at once, at most 30 s until the pong, 15 s of rest, and again. This is a state
//! machine without a clock: the session asks for the next deadline and reports what happened.

use std::time::{Duration, Instant};

/// The times of the keep-alive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepaliveTimes {
    /// The time between a pong and the next ping.
    pub(crate) interval: Duration,
    /// How long a pong may take.
    pub(crate) timeout: Duration,
}

/// The next action of the keepalive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Ping,
    Expired,
    /// Nothing: the deadline has not passed.
    Nothing,
}

/// The state of the keep-alive of one client.
#[derive(Debug)]
pub(crate) struct Keepalive {
    times: KeepaliveTimes,
    deadline: Instant,
    awaits_pong: bool,
}

impl Keepalive {
    pub(crate) const fn new(times: KeepaliveTimes, now: Instant) -> Self {
        Self {
            times,
            deadline: now,
            awaits_pong: false,
        }
    }

    /// Returns when [`Keepalive::due`] should be called again.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns what has to be done now. After [`Due::Ping`] the pong is awaited.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if now < self.deadline {
            return Due::Nothing;
        }
        if self.awaits_pong {
            return Due::Expired;
        }
        self.awaits_pong = true;
        self.deadline = now + self.times.timeout;
        Due::Ping
    }

    /// Records a pong. An unexpected pong is allowed (RFC 6455 §5.5.3) and ignored.
    pub(crate) fn pong(&mut self, now: Instant) {
        if self.awaits_pong {
            self.awaits_pong = false;
            self.deadline = now + self.times.interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_at_once_rests_after_the_pong_and_expires_without_one() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let times = KeepaliveTimes {
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(30),
        };
        let mut keepalive = Keepalive::new(times, start);
        keepalive.pong(at(0));
        assert_eq!(keepalive.due(at(0)), Due::Ping);
        assert_eq!(keepalive.due(at(29)), Due::Nothing);
        keepalive.pong(at(29));
        assert_eq!(keepalive.due(at(43)), Due::Nothing);
        assert_eq!(keepalive.deadline(), at(44));
        assert_eq!(keepalive.due(at(44)), Due::Ping);
        assert_eq!(keepalive.due(at(74)), Due::Expired);
    }
}
