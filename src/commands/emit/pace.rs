//! Limits the rate of lines: line n goes out no earlier than n / rate after the first.

use std::time::Duration;

use tokio::time::Instant;

/// The batches per second of a limited stream. Small batches spread the lines evenly.
const STEPS_PER_SECOND: u64 = 50;
/// The most lines of a batch of a limited stream.
const LARGEST_STEP: u64 = 250;

/// Spreads lines evenly over time.
#[derive(Debug)]
pub(super) struct Pacer {
    rate: u64,
    started: Option<Instant>,
}

impl Pacer {
    /// Returns a pacer for `rate` lines per second, at least 1.
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            started: None,
        }
    }

    /// Returns the number of lines of a batch.
    pub(super) fn step(&self) -> usize {
        let step = (self.rate / STEPS_PER_SECOND).clamp(1, LARGEST_STEP);
        usize::try_from(step).unwrap_or(1)
    }

    /// Waits until line number `sent` (from zero) is due.
    pub(super) async fn wait(&mut self, sent: u64) {
        // The time begins with the first line: input that comes late is not made up for by a burst.
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

    /// Lines are due at equal distances, and batches have a fiftieth of a second's lines.
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

    /// A line is not sent before it is due.
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
