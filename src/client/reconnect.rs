//! Reconnects after a stream broke off.

use std::time::Duration;

use weir_error::ErrorKind;
use weir_net::Backoff;
use weir_service::clock;

use super::Stack;
use crate::failure::Failure;
use crate::state::{Lock, StateDir};

/// The delay before the first attempt; it doubles from attempt to attempt.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay between two attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// The time without a running stack after which the command gives up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// Repeats `attempt` until it succeeds. A restarted stack may have other addresses, so each attempt reads them again. Gives up if
/// no stack has run for 10 s, and at once if the answer is a refusal.
pub(crate) async fn reconnect<T>(
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
            // The stack is starting, or one of its components restarts.
            Err(failure) if failure.kind() == ErrorKind::Unavailable && Lock::holder(state).is_some() => {
                gone_since = None;
            }
            Err(failure) if matches!(failure.kind(), ErrorKind::Unavailable | ErrorKind::NotFound) => {
                let since = *gone_since.get_or_insert_with(clock::instant);
                if clock::instant().duration_since(since) > GIVE_UP_AFTER {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}
