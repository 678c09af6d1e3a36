//! A steady pace: the n-th line goes out no earlier than n / rate after the first.

use std::time::Duration;

use tokio::time::Instant;

/// Batches of a paced stream are small, so that lines come evenly rather than in bursts.
const STEPS_PER_SECOND: u64 = 50;
const LARGEST_STEP: u64 = 250;

/// Spreads lines over time.
#[derive(Debug)]
pub(super) struct Pacer {
    rate: u64,
    started: Option<Instant>,
}

impl Pacer {
    /// `rate` lines per second; above zero.
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            started: None,
        }
    }

    /// How many lines go out together.
    pub(super) fn step(&self) -> usize {
        let step = (self.rate / STEPS_PER_SECOND).clamp(1, LARGEST_STEP);
        usize::try_from(step).unwrap_or(1)
    }

    /// Waits until line number `sent` (from zero) is due.
    pub(super) async fn wait(&mut self, sent: u64) {
        let started = *self.started.get_or_insert_with(Instant::now);
        tokio::time::sleep_until(started + self.due(sent)).await;
    }

    fn due(&self, sent: u64) -> Duration {
        let seconds = sent / self.rate;
        let nanos = u128::from(sent % self.rate) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_spread_evenly() {
        let pacer = Pacer::new(1000);
        assert_eq!(pacer.step(), 20);
        assert_eq!(pacer.due(0), Duration::ZERO);
        assert_eq!(pacer.due(500), Duration::from_millis(500));
        assert_eq!(pacer.due(2500), Duration::from_millis(2500));
        assert_eq!(Pacer::new(1).step(), 1);
        assert_eq!(Pacer::new(1_000_000).step(), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_the_line_to_be_due() {
        let mut pacer = Pacer::new(10);
        let start = Instant::now();
        pacer.wait(0).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        pacer.wait(20).await;
        assert!(start.elapsed() >= Duration::from_secs(2));
    }
}
