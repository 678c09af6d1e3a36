//! Repeats transactions that conflicted with another one.

use std::time::Duration;

use crate::DbError;

/// The greatest number of attempts.
const ATTEMPTS: u32 = 5;

/// An error that may be a conflict of transactions.
pub trait Conflict {
    /// Whether the transaction may succeed if it is repeated.
    fn is_conflict(&self) -> bool;
}

impl Conflict for DbError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }
}

/// Runs `work`, which makes one transaction, and repeats it while it conflicts with others, for five attempts at most.
///
/// PostgreSQL and MySQL run transactions concurrently, and end one of two that cannot both succeed. The wait before
/// each attempt is longer than the one before.
///
/// # Errors
/// The last error of `work`.
pub async fn retrying<T, E, F>(mut work: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: Conflict,
{
    let mut attempt = 1;
    loop {
        match work().await {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(5) * 3_u32.pow(attempt - 1)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Sample {
        Met,
        Other,
    }

    impl Conflict for Sample {
        fn is_conflict(&self) -> bool {
            *self == Self::Met
        }
    }

    /// A conflict is repeated a limited number of times, and other errors are not.
    #[tokio::test(start_paused = true)]
    async fn only_conflicts_are_repeated() {
        let calls = Cell::new(0);
        let outcome = retrying(|| {
            calls.set(calls.get() + 1);
            let call = calls.get();
            async move { if call < 3 { Err(Sample::Met) } else { Ok(call) } }
        })
        .await;
        assert_eq!(outcome, Ok(3));
        calls.set(0);
        let outcome: Result<(), _> = retrying(|| {
            calls.set(calls.get() + 1);
            async { Err(Sample::Other) }
        })
        .await;
        assert_eq!((outcome, calls.get()), (Err(Sample::Other), 1));
        calls.set(0);
        let outcome: Result<(), _> = retrying(|| {
            calls.set(calls.get() + 1);
            async { Err(Sample::Met) }
        })
        .await;
        assert_eq!((outcome, calls.get()), (Err(Sample::Met), ATTEMPTS));
    }
}
