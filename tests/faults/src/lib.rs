//! Fault tests: failures and attacks on a running stack.
//!
//! - `tests/conservation.rs`: consumers that are slow or vanish, components that are killed under load, a source that
//!   is far louder than others. `weir_testkit::conserved` checks that each envelope that did not arrive is counted.
//! - `tests/drains.rs` and `tests/thousand.rs`: drains that are away, slow or broken, and backlogs on disk.
//! - `tests/hostile.rs`: invalid and hostile input at every port. The stack answers with an error, continues to serve
//!   others, stays within its memory, and nothing panics.
//! - `tests/round_trip.rs`: real log lines come out of every interface byte for byte.
//!
//! Each test starts its own stack. The tests run the `weir` program, which cargo builds with the tests of the
//! workspace. Where it is missing or older than its sources, the first test builds it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

use std::time::Duration;

use tokio::time::Instant;
use weir_testkit::{Emitter, Received, RlpConsumer, Sent, Series, Shape, Stack, eventually, logs_of};

/// Sends `counts` more lines of each series, interleaved, at about `rate` lines per second over all series.
///
/// # Errors
/// Fails when the stream has ended.
pub async fn send_paced(emitter: &Emitter, series: &mut [Series], counts: &[usize], rate: usize) -> anyhow::Result<()> {
    /// The time between two bursts.
    const STEP: Duration = Duration::from_millis(20);
    let total: usize = counts.iter().sum();
    let start = Instant::now();
    let mut sent = 0;
    let mut done = vec![0; series.len()];
    while sent < total {
        let due = usize::try_from(start.elapsed().as_millis())? * rate / 1000;
        // All series advance in proportion, so that no one ends before the others.
        for (index, count) in counts.iter().enumerate() {
            let until = (due.min(total) * count).div_ceil(total);
            while done[index] < until {
                let now = (until - done[index]).min(100);
                emitter.send(&series[index].batch(now)).await?;
                done[index] += now;
                sent += now;
            }
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}

/// Checks that a new line passes the agent, the doppler and the RLP, and can be read in the log cache.
///
/// # Errors
/// Fails when it does not.
pub async fn assert_serves(stack: &Stack) -> anyhow::Result<()> {
    let source = format!("alive-{:?}", Instant::now()).replace(|c: char| !c.is_alphanumeric(), "-");
    let emitter = stack.emitter().await?;
    let consumer = RlpConsumer::subscribe(stack.endpoints(), logs_of([source.as_str()])).await?;
    consumer.wait_until_subscribed(&emitter, &source).await?;
    let log_cache = stack.log_cache()?;
    let sent = Sent::from([(source.clone(), 1)]);
    eventually("a line in the log cache", async || {
        let found = log_cache.lines_of(&sent).await?;
        anyhow::ensure!(found.total() > 0, "none found");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// Checks that no component panicked.
///
/// # Panics
/// Panics with the lines of the log that report a panic.
pub fn assert_no_panics(stack: &Stack) {
    let panics = stack.panics();
    assert!(panics.is_empty(), "{panics:#?}");
}

/// Returns `count` series, whose sources are `name` with a number.
#[must_use]
pub fn series_of(name: &str, count: usize, shape: Shape) -> Vec<Series> {
    (0..count)
        .map(|index| Series::new(format!("{name}-{index}"), shape))
        .collect()
}

/// Returns the lines that the log cache has of each source in `sent`. No more arrive once the ledgers of the stack are at
/// rest.
///
/// # Errors
/// Fails when the log cache does not answer.
pub async fn in_log_cache(stack: &Stack, sent: &Sent) -> anyhow::Result<Received> {
    stack.log_cache()?.lines_of(sent).await
}
