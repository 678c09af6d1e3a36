//! Whether somebody still reads standard output.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until standard output is a pipe that nobody can read from any more. A command that is silent just now would not
/// notice before its next write, which may never come. Files and terminals have no such end. Cancel safe.
pub(crate) async fn reader_left() {
    if let Ok(output) = watched() {
        // An error of a pipe's writing end is that there is no other end.
        if output.ready(Interest::ERROR).await.is_ok() {
            return;
        }
    }
    std::future::pending().await
}

/// Fails for a file, which cannot be waited for.
#[expect(clippy::disallowed_methods, reason = "nothing is written")]
#[expect(
    deprecated,
    reason = "its successor is `unsafe` for what may close itself; this is an owned descriptor"
)]
fn watched() -> io::Result<AsyncFd<OwnedFd>> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    AsyncFd::with_interest(output, Interest::ERROR)
}
