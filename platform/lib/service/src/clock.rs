//! The clock: the only place that reads the time of the system, so that tests can set it.
//!
//! [`Clock::system`] is the real clock. [`Clock::manual`] stands still until its [`ManualClock`] moves it. The
//! monotonic time is tokio's, so that it stands still in a test with paused time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// The present wall-clock time in nanoseconds since the Unix epoch, which is the unit of envelope timestamps. It is
/// negative before 1970 and saturates in 2262.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn now_nanos() -> i64 {
    nanos_since_epoch(SystemTime::now())
}

/// The present monotonic time.
#[must_use]
pub fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Converts `time` to nanoseconds since the Unix epoch.
#[must_use]
pub fn nanos_since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(error) => i64::try_from(error.duration().as_nanos()).map_or(i64::MIN, |before| -before),
    }
}

/// The clock of code that tests run at a time of their choice. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    manual: Option<Arc<Mutex<Hands>>>,
}

impl Clock {
    /// The real clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `now_nanos` until the returned [`ManualClock`] moves it.
    #[must_use]
    pub fn manual(now_nanos: i64) -> (ManualClock, Self) {
        let hands = Arc::new(Mutex::new(Hands {
            now_nanos,
            instant: instant(),
        }));
        (
            ManualClock {
                hands: Arc::clone(&hands),
            },
            Self { manual: Some(hands) },
        )
    }

    /// The wall-clock time in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_nanos(&self) -> i64 {
        match &self.manual {
            None => now_nanos(),
            Some(hands) => hands.lock().now_nanos,
        }
    }

    /// The monotonic time.
    #[must_use]
    pub fn instant(&self) -> Instant {
        match &self.manual {
            None => instant(),
            Some(hands) => hands.lock().instant,
        }
    }
}

/// The two times of a manual clock.
#[derive(Debug)]
struct Hands {
    now_nanos: i64,
    instant: Instant,
}

/// The handle that moves a manual clock.
#[derive(Debug, Clone)]
pub struct ManualClock {
    hands: Arc<Mutex<Hands>>,
}

impl ManualClock {
    /// Moves both the wall-clock time and the monotonic time forward.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.hands.lock();
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        hands.now_nanos = hands.now_nanos.saturating_add(nanos);
        hands.instant += by;
    }

    /// Sets the wall-clock time, in nanoseconds since the Unix epoch, as an operator or NTP would. It may go backwards.
    /// The monotonic time stays.
    pub fn set_wall(&self, now_nanos: i64) {
        self.hands.lock().now_nanos = now_nanos;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both times of a manual clock move together, and the wall-clock time alone can go back.
    #[test]
    fn a_manual_clock_is_moved_by_its_handle() {
        let (handle, clock) = Clock::manual(1_000);
        let start = clock.instant();
        assert_eq!(clock.now_nanos(), 1_000);
        handle.advance(Duration::from_secs(2));
        assert_eq!(clock.now_nanos(), 2_000_001_000);
        assert_eq!(clock.instant() - start, Duration::from_secs(2));
        handle.set_wall(5);
        assert_eq!(clock.now_nanos(), 5);
        assert_eq!(clock.instant() - start, Duration::from_secs(2));
    }

    /// The system clock counts nanoseconds, and the conversion holds before 1970 and after 2262.
    #[test]
    fn system_clock_counts_nanoseconds() {
        assert!(Clock::system().now_nanos() > 1_700_000_000_000_000_000);
        assert!(Clock::system().instant() <= instant());
        assert_eq!(nanos_since_epoch(UNIX_EPOCH - Duration::from_nanos(7)), -7);
        assert_eq!(
            nanos_since_epoch(UNIX_EPOCH + Duration::from_hours(24 * 366 * 400)),
            i64::MAX
        );
    }
}
