//! Fault tests: what happens to a running stack when something goes wrong.
//!
//! - `tests/conservation.rs`: slow and vanishing consumers, parts killed under load, a noisy neighbour. The oracle of
//!   `weir-testkit` checks that every envelope that did not arrive is counted.
//! - `tests/hostile.rs`: garbage and hostility at every port. The stack answers with an error, goes on serving others, stays
//!   within its memory, and nothing panics.
//! - `tests/round_trip.rs`: real log lines in, and out of every face byte for byte.
//!
//! Each test starts a stack of its own. They drive the `weir` program, which cargo builds with the workspace's tests; where
//! it is missing or stale, the first test builds it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

use std::time::Duration;

use tokio::time::Instant;
use weir_testkit::{Emitter, Received, RlpConsumer, Sent, Series, Shape, Stack, eventually, logs_of};

/// Sends `counts` more lines of each series, interleaved, at about `rate` lines a second over all of them.
///
/// # Errors
/// When the stream has ended.
pub async fn send_paced(emitter: &Emitter, series: &mut [Series], counts: &[usize], rate: usize) -> anyhow::Result<()> {
    /// Between two bursts.
    const STEP: Duration = Duration::from_millis(20);
    let total: usize = counts.iter().sum();
    let start = Instant::now();
    let mut sent = 0;
    let mut done = vec![0; series.len()];
    while sent < total {
        let due = usize::try_from(start.elapsed().as_millis())? * rate / 1000;
        // Each series is as far along as the whole is.
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

/// A line sent now goes through the agent, the doppler and the RLP, and can be read in the log cache.
///
/// # Errors
/// When it does not.
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

/// Nothing in the stack panicked.
///
/// # Panics
/// When something did: the lines of the log that say so.
pub fn assert_no_panics(stack: &Stack) {
    let panics = stack.panics();
    assert!(panics.is_empty(), "{panics:#?}");
}

/// Series of sources with a common name, numbered.
#[must_use]
pub fn series_of(name: &str, count: usize, shape: Shape) -> Vec<Series> {
    (0..count)
        .map(|index| Series::new(format!("{name}-{index}"), shape))
        .collect()
}

/// The lines that the log cache has of each source in `sent`; waits until it has all, or no more come.
///
/// # Errors
/// When it cannot be asked.
pub async fn in_log_cache(stack: &Stack, sent: &Sent) -> anyhow::Result<Received> {
    let log_cache = stack.log_cache()?;
    let all: u64 = sent.values().sum();
    let mut last = log_cache.lines_of(sent).await?;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = log_cache.lines_of(sent).await?;
        if now.total() >= all || now.total() == last.total() {
            return Ok(now);
        }
        last = now;
    }
}
