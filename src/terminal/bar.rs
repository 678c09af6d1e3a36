//! The progress bar of `weir emit`, on standard error.

use std::io;
use std::time::{Duration, Instant};

use weir_service::clock;

use super::{LiveLine, stderr_is_terminal, thousands};

/// The width of the bar in characters.
const CELLS: u64 = 24;
/// The least time between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);

/// A progress bar. It is drawn only on a terminal, and at most every 100 ms.
#[derive(Debug)]
pub(crate) struct ProgressBar {
    line: Option<LiveLine>,
    /// The number of bytes of the whole input, if it is known.
    total: Option<u64>,
    started: Instant,
    drawn: Option<Instant>,
}

impl ProgressBar {
    /// Returns a bar for `total` bytes. Without a total it shows counts only.
    pub(crate) fn new(total: Option<u64>) -> Self {
        Self {
            line: stderr_is_terminal().then(LiveLine::default),
            total,
            ..Self::silent()
        }
    }

    /// Returns a bar that is never drawn.
    pub(crate) fn silent() -> Self {
        Self {
            line: None,
            total: None,
            started: clock::instant(),
            drawn: None,
        }
    }

    /// Sets the progress, and draws the bar if the last drawing is long enough ago.
    #[expect(clippy::disallowed_methods, reason = "one of the places where commands write")]
    pub(crate) fn update(&mut self, bytes: u64, lines: u64) {
        let Some(line) = &mut self.line else { return };
        let now = clock::instant();
        if self.drawn.is_some_and(|drawn| now.duration_since(drawn) < INTERVAL) {
            return;
        }
        self.drawn = Some(now);
        let text = text(self.total, bytes, lines, now.duration_since(self.started));
        // The bar is not essential: a terminal that fails must not stop the command.
        drop(line.show(&mut io::stderr(), &text));
    }

    /// Removes the bar, so that the summary can be printed in its place.
    #[expect(clippy::disallowed_methods, reason = "one of the places where commands write")]
    pub(crate) fn finish(&mut self) {
        if let Some(line) = &mut self.line {
            drop(line.clear(&mut io::stderr()));
        }
    }
}

fn text(total: Option<u64>, bytes: u64, lines: u64, elapsed: Duration) -> String {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = lines.saturating_mul(1000) / millis;
    let counts = format!("{} lines, {}/s", thousands(lines), thousands(rate));
    match total.filter(|&total| total > 0) {
        None => counts,
        Some(total) => {
            let done = bytes.min(total);
            let share = |of: u64| u64::try_from(u128::from(done) * u128::from(of) / u128::from(total)).unwrap_or(of);
            let cells: String = (0..CELLS)
                .map(|cell| if cell < share(CELLS) { '█' } else { '░' })
                .collect();
            format!("{cells} {:>3} %  {counts}", share(100))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_share_count_and_rate() {
        let half = text(Some(200), 100, 3_000, Duration::from_secs(2));
        assert_eq!(
            half,
            format!("{}{}  50 %  3,000 lines, 1,500/s", "█".repeat(12), "░".repeat(12))
        );
    }

    #[test]
    fn without_a_total_it_counts() {
        assert_eq!(text(None, 100, 5, Duration::from_secs(1)), "5 lines, 5/s");
        assert_eq!(text(Some(0), 0, 0, Duration::ZERO), "0 lines, 0/s");
    }

    /// A file that grows while it is read does not overflow the bar.
    #[test]
    fn a_growing_file_stops_at_the_end() {
        assert!(text(Some(10), u64::MAX, 1, Duration::from_secs(1)).contains("100 %"));
    }
}
