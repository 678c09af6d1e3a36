//! Limits repeated log lines: one per period, with the number of those that were left out.
//!
//! What a caller can cause any number of times, such as a refusal, is logged with [`limited!`](crate::limited) and
//! [`EACH_SECOND`]. Otherwise each request would be a line in a file and a row in the log cache. The metric
//! `log_lines_swallowed` of the process counts all lines that were left out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;

/// The period for lines that a caller can cause any number of times.
pub const EACH_SECOND: Duration = Duration::from_secs(1);

/// The number of lines that all limits of this process have left out.
static SWALLOWED: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines this process has left out.
#[must_use]
pub fn lines_swallowed() -> u64 {
    SWALLOWED.load(Ordering::Relaxed)
}

/// Admits one line per period and counts the others. It can be a `static`.
#[derive(Debug)]
pub struct RateLimit {
    period: Duration,
    last: Mutex<Option<Instant>>,
    swallowed: AtomicU64,
}

impl RateLimit {
    /// Creates a limit of one line per `period`. The first one is admitted at once.
    #[must_use]
    pub const fn new(period: Duration) -> Self {
        Self {
            period,
            last: Mutex::new(None),
            swallowed: AtomicU64::new(0),
        }
    }

    /// Returns `Some` if the line may be written, with the number of lines that were left out since the last one.
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

/// Logs at most once per period from this place. The field `swallowed` says how many lines were left out since.
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

    /// The first line is admitted, others in the period are counted, and the next one reports their number.
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
