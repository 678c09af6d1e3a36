//! Waiting for a condition, with a deadline.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

/// How long what must come may take. Generous: the machine may be busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const STEP: Duration = Duration::from_millis(20);

/// Looks until `condition` gives a value, or fails with what it said last.
///
/// # Errors
/// When it did not hold within [`PATIENCE`].
pub async fn eventually<T, E: Display>(
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match condition().await {
            Ok(value) => return Ok(value),
            Err(state) if Instant::now() >= deadline => {
                anyhow::bail!("{what}: not within {} s: {state}", PATIENCE.as_secs())
            }
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}

/// Waits for an answer that must come beside an attack, and prints how long it took.
///
/// # Errors
/// When it failed, or did not come within `limit`.
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
