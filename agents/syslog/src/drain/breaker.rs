//! Decides when a drain that failed is tried again.

use std::time::{Duration, Instant};

use rand::Rng as _;

/// The upper bound of the first pause.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause in the first minutes of an outage. Most outages are restarts, and everybody waits for their end.
const LONGEST_AT_FIRST: Duration = Duration::from_secs(5);

/// How long the shorter bound holds.
const YOUNG: Duration = Duration::from_secs(600);

/// The longest pause of a longer outage.
const LONGEST: Duration = Duration::from_secs(30);

/// The shortest pause, so that a drain that refuses at once is not flooded with attempts.
const SHORTEST: Duration = Duration::from_millis(100);

/// The pause before a connection that continues a search (see [`super::trials`]).
const NEXT: Duration = Duration::from_millis(10);

/// The longest pause that a drain can ask for with `Retry-After`. Its clock may be wrong.
const ASKED: Duration = Duration::from_secs(3600);

/// Counts failures and computes pauses: exponential with full jitter.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// When the first of these failures happened.
    since: Option<Instant>,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Records a failed attempt. `retry_after` is the pause that the drain asks for.
    pub(super) fn failed(&mut self, retry_after: Option<Duration>, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let longest = if now.saturating_duration_since(since) < YOUNG {
            LONGEST_AT_FIRST
        } else {
            LONGEST
        };
        // The pause doubles up to the sixth failure. The shift is bounded, or it would overflow.
        let step = FIRST.saturating_mul(1 << self.failures.min(6)).min(longest);
        self.failures += 1;
        // Full jitter, so that all drains of a receiver that restarts do not connect at the same time.
        let jitter = step.mul_f64(rand::rng().random_range(0.0..1.0)).max(SHORTEST);
        // A receiver may ask for a longer pause, but not for one without end.
        let asked = retry_after.unwrap_or_default().min(ASKED);
        self.open_until = Some(now + jitter.max(asked));
    }

    /// Records a connection that broke and continues a search. The drain counts as failing, but the pause does not
    /// grow.
    pub(super) fn goes_on(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.failures = self.failures.max(1);
        self.next(now);
    }

    /// Allows the next connection after a moment, because the last one ended as expected.
    pub(super) fn next(&mut self, now: Instant) {
        self.open_until = Some(now + NEXT);
    }

    /// Records that the drain accepted something, which ends the failure.
    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
        self.since = None;
        self.open_until = None;
    }

    /// Ends the pause, because the drain may be reachable again.
    pub(super) const fn retry_now(&mut self) {
        self.open_until = None;
    }

    /// Returns whether the last attempt failed.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Returns when the next attempt may be made, or `None` if it may be made now.
    pub(super) fn open_until(&self, now: Instant) -> Option<Instant> {
        self.open_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use weir_service::clock;

    use super::*;

    /// Returns the longest of many random pauses after 20 failures, the first of which was `age` ago.
    fn longest_pause(age: Duration) -> Duration {
        let begin = clock::instant();
        let pauses = (0..200).map(|_| {
            let mut breaker = Breaker::default();
            breaker.failed(None, begin);
            (0..20).for_each(|_| breaker.failed(None, begin + age));
            breaker
                .open_until(begin)
                .unwrap()
                .saturating_duration_since(begin + age)
        });
        pauses.max().unwrap()
    }

    /// Pauses are at most 5 s for ten minutes and at most 30 s after that, are random, respect `Retry-After`, and end
    /// when the drain may be reachable again.
    #[test]
    fn pauses_are_short_while_the_outage_is_young() {
        let young = longest_pause(Duration::from_secs(599));
        assert!(Duration::from_secs(4) < young && young <= LONGEST_AT_FIRST, "{young:?}");
        let old = longest_pause(Duration::from_secs(601));
        assert!(Duration::from_secs(20) < old && old <= LONGEST, "{old:?}");

        let now = clock::instant();
        let mut breaker = Breaker::default();
        breaker.failed(None, now);
        assert!(breaker.open_until(now).is_some() && breaker.has_failed());
        breaker.retry_now();
        assert!(breaker.open_until(now).is_none() && breaker.has_failed());
        breaker.failed(Some(Duration::from_secs(60)), now);
        assert_eq!(breaker.open_until(now), Some(now + Duration::from_secs(60)));
        breaker.succeeded();
        assert!(breaker.open_until(now).is_none() && !breaker.has_failed());
    }
}
