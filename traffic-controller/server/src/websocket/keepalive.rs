//! When to ping a client, and when to give it up.
//!
//! As the original does: a ping at once, at most 30 s for the pong, 15 s of rest, and again. A pure state machine over
//! instants: the session asks for its next deadline and says what happened.

use std::time::{Duration, Instant};

/// How often and how patiently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepaliveTimes {
    /// Rest between a pong and the next ping.
    pub(crate) interval: Duration,
    /// How long a pong may take.
    pub(crate) timeout: Duration,
}

impl Default for KeepaliveTimes {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(30),
        }
    }
}

/// What a deadline that has passed means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Ping,
    Expired,
    /// It has not passed yet.
    Nothing,
}

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

    /// When to call [`Keepalive::due`] again.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to do now. After [`Due::Ping`] the pong is awaited.
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

    /// A pong came. One that nobody waits for is allowed (RFC 6455, section 5.5.3) and means nothing.
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
        let mut keepalive = Keepalive::new(KeepaliveTimes::default(), start);
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
