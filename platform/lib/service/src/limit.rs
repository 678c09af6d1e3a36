//! Lines that repeat: said once in a while, with how many were swallowed.
//!
//! Whatever a caller can cause as often as it likes, such as a refusal, is said through [`limited!`](crate::limited) with
//! [`EACH_SECOND`]: otherwise each request would be a line in a file and a row in the log cache. The metric
//! `log_lines_swallowed` of the process says how many were left out altogether.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;

/// How often something is said that a caller can cause as often as it likes.
pub const EACH_SECOND: Duration = Duration::from_secs(1);

/// Of all limits of this process.
static SWALLOWED: AtomicU64 = AtomicU64::new(0);

/// How many lines this process has left out.
#[must_use]
pub fn lines_swallowed() -> u64 {
    SWALLOWED.load(Ordering::Relaxed)
}

/// Lets one through per period and counts the others. Usable as a `static`.
#[derive(Debug)]
pub struct RateLimit {
    period: Duration,
    last: Mutex<Option<Instant>>,
    swallowed: AtomicU64,
}

impl RateLimit {
    /// One per `period`; the first at once.
    #[must_use]
    pub const fn new(period: Duration) -> Self {
        Self {
            period,
            last: Mutex::new(None),
            swallowed: AtomicU64::new(0),
        }
    }

    /// Whether this one may be said: with how many were swallowed since the last.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(clock::instant())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock();
        if last.is_some_and(|last| now.saturating_duration_since(last) < self.period) {
            self.swallowed.fetch_add(1, Ordering::Relaxed);
            SWALLOWED.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *last = Some(now);
        Some(self.swallowed.swap(0, Ordering::Relaxed))
    }
}

/// Logs at most once per period from this place; the field `swallowed` says how many were left out since.
///
/// ```
/// # let error = "odd";
/// weir_service::limited!(warn, std::time::Duration::from_secs(10), error = %error, "peer cannot be reached");
/// ```
#[macro_export]
macro_rules! limited {
    ($level:ident, $period:expr, target: $target:expr, $($event:tt)+) => {{
        static LIMIT: $crate::RateLimit = $crate::RateLimit::new($period);
        if let Some(swallowed) = LIMIT.admit() {
            $crate::tracing::$level!(target: $target, swallowed, $($event)+);
        }
    }};
    ($level:ident, $period:expr, $($event:tt)+) => {{
        static LIMIT: $crate::RateLimit = $crate::RateLimit::new($period);
        if let Some(swallowed) = LIMIT.admit() {
            $crate::tracing::$level!(swallowed, $($event)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is said, the rest of the period is counted, the next says how many.
    #[test]
    fn counts_what_it_swallows() {
        let limit = RateLimit::new(Duration::from_secs(10));
        let start = clock::instant();
        assert_eq!(limit.admit_at(start), Some(0));
        for second in 1..10 {
            assert_eq!(limit.admit_at(start + Duration::from_secs(second)), None);
        }
        assert_eq!(limit.admit_at(start + Duration::from_secs(10)), Some(9));
        assert_eq!(limit.admit_at(start), None);
        assert_eq!(limit.admit_at(start + Duration::from_secs(30)), Some(1));
    }
}
