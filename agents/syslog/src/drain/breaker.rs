//! When a drain that failed is tried again.

use std::time::{Duration, Instant};

use rand::Rng as _;

/// The first pause, at most.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause while an outage is young: most are restarts, and everybody waits for the drain to be back.
const LONGEST_AT_FIRST: Duration = Duration::from_secs(5);

/// How long an outage is young.
const YOUNG: Duration = Duration::from_secs(600);

/// The longest pause after that.
const LONGEST: Duration = Duration::from_secs(30);

/// The shortest pause: a drain that refuses at once is not stormed.
const SHORTEST: Duration = Duration::from_millis(100);

/// The pause between two connections of which the first one has told something (see [`super::trials`]).
const NEXT: Duration = Duration::from_millis(10);

/// What a drain may ask for with `Retry-After`, at most: it may have got its clock wrong.
const ASKED: Duration = Duration::from_secs(3600);

/// Counts failures and says when the next attempt may be made: exponential with full jitter.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// When the first of them was.
    since: Option<Instant>,
    open_until: Option<Instant>,
}

impl Breaker {
    /// An attempt failed; `retry_after`: when the drain asks to be tried again.
    pub(super) fn failed(&mut self, retry_after: Option<Duration>, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let longest = if now.saturating_duration_since(since) < YOUNG {
            LONGEST_AT_FIRST
        } else {
            LONGEST
        };
        let step = FIRST.saturating_mul(1 << self.failures.min(6)).min(longest);
        self.failures += 1;
        let jitter = step.mul_f64(rand::rng().random_range(0.0..1.0)).max(SHORTEST);
        let asked = retry_after.unwrap_or_default().min(ASKED);
        self.open_until = Some(now + jitter.max(asked));
    }

    /// A connection broke, and the next one will tell more: it fails, but the pause does not grow.
    pub(super) fn goes_on(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.failures = self.failures.max(1);
        self.next(now);
    }

    /// A connection ended as was to be expected: the next one may be made after a moment.
    pub(super) fn next(&mut self, now: Instant) {
        self.open_until = Some(now + NEXT);
    }

    /// The drain took something: it works.
    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
        self.since = None;
        self.open_until = None;
    }

    /// There is a sign that the drain is back: the next attempt may be made now.
    pub(super) const fn hope(&mut self) {
        self.open_until = None;
    }

    /// Whether the last attempt failed.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// When the next attempt may be made; `None`: now.
    pub(super) fn open_until(&self, now: Instant) -> Option<Instant> {
        self.open_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use weir_service::clock;

    use super::*;

    /// The longest of many pauses that follow `before` failures, the first of which was `age` ago.
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

    /// Pauses stay within 5 s for ten minutes and within 30 s after that, differ by chance, are as long as the drain asks for,
    /// and end with a sign of life.
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
        breaker.hope();
        assert!(breaker.open_until(now).is_none() && breaker.has_failed());
        breaker.failed(Some(Duration::from_secs(60)), now);
        assert_eq!(breaker.open_until(now), Some(now + Duration::from_secs(60)));
        breaker.succeeded();
        assert!(breaker.open_until(now).is_none() && !breaker.has_failed());
    }
}
