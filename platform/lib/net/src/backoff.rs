//! Reconnection delays: exponential with jitter, so that a server that comes back does not get all its clients at one
//! moment.

use std::time::Duration;

use rand::Rng;

/// The delays between attempts, which double from `first` up to `longest`.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays that begin at `first` and end at `longest`. Each is shortened at random, by up to a half.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The delays between components of Weir: 20 ms to 2 s.
    #[must_use]
    pub const fn between_parts() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_secs(2))
    }

    /// The delays of a subscription: 20 ms to half a second. A doppler that comes back holds its producers until its
    /// subscribers are there again, so they must not wait for long.
    #[must_use]
    pub const fn of_subscriptions() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_millis(500))
    }

    /// How long to wait before the next attempt: between half and all of the current step, which then doubles.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        step.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    /// Begins again at the first delay, after an attempt that succeeded.
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
