//! When a drain that failed is tried again.

use std::time::{Duration, Instant};

use rand::Rng as _;
use weir_drain::Failure;

/// The first pause, at most.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// The shortest pause: a drain that refuses at once is not stormed.
const SHORTEST: Duration = Duration::from_millis(100);

/// What a drain may ask for with `Retry-After`, at most: it may have got its clock wrong.
const ASKED: Duration = Duration::from_secs(3600);

/// Counts failures and says when the next attempt may be made: exponential with full jitter.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// An attempt failed.
    pub(super) fn failed(&mut self, failure: &Failure, now: Instant) {
        let step = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures += 1;
        let jitter = step.mul_f64(rand::rng().random_range(0.0..1.0)).max(SHORTEST);
        let asked = failure.retry_after.unwrap_or_default().min(ASKED);
        self.open_until = Some(now + jitter.max(asked));
    }

    /// The drain took something: it works.
    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
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
