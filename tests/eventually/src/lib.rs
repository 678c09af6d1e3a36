//! Waiting in tests for a condition, with a deadline. It stands below everything, so that the tests of any crate may use it.
//!
//! The deadline is of the real clock also where a test has stopped tokio's: the condition may depend on another thread.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "only tests use it: they wait, ask for the time, and fail"
)]

use std::fmt::Display;
use std::time::{Duration, Instant};

use thiserror::Error;

/// How long a condition may take to hold. Nothing takes as long unless it is broken; a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Time between two looks.
const STEP: Duration = Duration::from_millis(5);

/// A condition did not hold within [`PATIENCE`].
#[derive(Debug, Error)]
#[error("not within {} s: {what}{state}", PATIENCE.as_secs())]
pub struct TooLate {
    what: String,
    /// The answer of the condition at the last look.
    state: String,
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_async(what, async || condition()).await;
}

/// Waits until `condition`, which has to wait for its answer itself, holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub async fn eventually_async(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let met = until(what, async || if condition().await { Ok(()) } else { Err("") });
    if let Err(error) = met.await {
        panic!("{error}");
    }
}

/// Waits until `condition` gives a value.
///
/// # Errors
/// When it does not within [`PATIENCE`]: with the last error of the condition.
pub async fn until<T, E: Display>(what: &str, mut condition: impl AsyncFnMut() -> Result<T, E>) -> Result<T, TooLate> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match condition().await {
            Ok(value) => return Ok(value),
            Err(state) if Instant::now() >= deadline => return Err(TooLate::new(what, &state.to_string())),
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}

/// Waits on this thread until `condition` gives a value.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn eventually_blocking<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{}", TooLate::new(what, ""));
        std::thread::sleep(STEP);
    }
}

impl TooLate {
    fn new(what: &str, state: &str) -> Self {
        let separator = if state.is_empty() { "" } else { ": " };
        Self {
            what: what.to_owned(),
            state: format!("{separator}{state}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A condition is asked until it holds, and its value comes back.
    #[tokio::test]
    async fn conditions_are_asked_until_they_hold() {
        let mut looks = 0;
        eventually("three looks", || {
            looks += 1;
            looks == 3
        })
        .await;
        assert_eq!(looks, 3);
        let mut values = [Err("not yet"), Ok(7)].into_iter();
        assert_eq!(
            until("a value", async || values.next().unwrap_or(Err("none")))
                .await
                .unwrap(),
            7
        );
        let mut values = [None, Some(7)].into_iter();
        assert_eq!(eventually_blocking("a value", || values.next().flatten()), 7);
    }

    /// What did not come is said, with the last state.
    #[test]
    fn what_did_not_come_is_said() {
        assert_eq!(
            TooLate::new("a file", "no such file").to_string(),
            "not within 120 s: a file: no such file"
        );
        assert_eq!(TooLate::new("a file", "").to_string(), "not within 120 s: a file");
    }
}
