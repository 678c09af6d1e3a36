//! Connecting again after a stream broke off.

use std::time::Duration;

use weir_error::ErrorKind;
use weir_net::Backoff;
use weir_service::clock;

use super::Stack;
use crate::failure::Failure;
use crate::state::{Lock, StateDir};

/// Between attempts.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// Without any stack, this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Attempts until one succeeds, wherever the stack is now; gives up when there has been none for a while, and when the
/// answer is a refusal.
pub(crate) async fn again<T>(
    state: &StateDir,
    attempt: impl AsyncFn(Stack) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    let mut gone_since = None;
    loop {
        tokio::time::sleep(backoff.next_delay()).await;
        let result = match Stack::find(state) {
            Ok(stack) => attempt(stack).await,
            Err(failure) => Err(failure),
        };
        match result {
            Ok(value) => return Ok(value),
            // Somebody starts it, or a part of it starts again.
            Err(failure) if failure.kind() == ErrorKind::Unavailable && Lock::holder(state).is_some() => {
                gone_since = None;
            }
            Err(failure) if matches!(failure.kind(), ErrorKind::Unavailable | ErrorKind::NotFound) => {
                let since = *gone_since.get_or_insert_with(clock::instant);
                if clock::instant().duration_since(since) > PATIENCE {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}
