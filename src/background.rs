//! Tasks that run beside a command.

use tokio::task::JoinHandle;

/// Runs `work` as a task. The caller keeps the handle and waits for the task or aborts it, because a command has no list of
/// tasks.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where commands spawn; the caller holds the handle"
)]
pub(crate) fn background<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(work)
}
