//! Work beside the command itself.

use tokio::task::JoinHandle;

/// Runs `work` beside the command, which keeps the handle and waits for it or ends it: a command has no list of tasks.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place: whoever calls it holds the handle"
)]
pub(crate) fn background<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(work)
}
