//! Waits for a condition, with a deadline.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
pub use weir_eventually::PATIENCE;

/// Calls `condition` until it returns a value.
///
/// # Errors
/// Fails with the last error when this does not happen within [`PATIENCE`].
pub async fn eventually<T, E: Display>(what: &str, condition: impl AsyncFnMut() -> Result<T, E>) -> anyhow::Result<T> {
    Ok(weir_eventually::until(what, condition).await?)
}

/// Waits for an answer to another client during an attack, and prints how long it took.
///
/// # Errors
/// Fails when the answer is an error, or does not arrive within `limit`.
#[expect(
    clippy::print_stdout,
    reason = "the test harness shows it among the output of the test"
)]
pub async fn served<T>(
    what: &str,
    limit: Duration,
    answer: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    let Ok(answer) = tokio::time::timeout(limit, answer).await else {
        anyhow::bail!("{what}: not served within {} s", limit.as_secs());
    };
    println!("{what}: served after {} ms", start.elapsed().as_millis());
    answer.with_context(|| what.to_owned())
}
