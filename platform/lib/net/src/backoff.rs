//! Reconnection delays: exponential with full jitter, so that a doppler that comes back is not stormed.

use std::time::Duration;

use rand::Rng;

/// Delays between attempts; doubles from `first` up to `longest`.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays between half of `first` and `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The delays between Weir's own parts: 20 ms to 2 s.
    #[must_use]
    pub const fn between_parts() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_secs(2))
    }

    /// The delays of a subscription: at most half a second, so that a doppler that comes back need not hold its producers
    /// for longer.
    #[must_use]
    pub const fn of_subscriptions() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_millis(500))
    }

    /// How long to wait before the next attempt: between a half and the whole of the current step.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        step.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    /// An attempt succeeded: start over.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_with_jitter_and_stop_growing() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for expected in [100, 200, 300, 300] {
            let delay = backoff.next_delay().as_millis();
            assert!(
                (expected / 2..=expected).contains(&delay),
                "{delay} is not about {expected}"
            );
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
