//! Notices that the reader of standard output has closed it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until standard output is a pipe whose reading end is closed. Without this, a command would notice only at its next
/// write, which may never come. For files and terminals, it waits for ever. Cancel safe.
pub(crate) async fn reader_left() {
    if let Ok(output) = watched() {
        // The kernel signals an error (`POLLERR`) on the writing end of a pipe without readers.
        if output.ready(Interest::ERROR).await.is_ok() {
            return;
        }
    }
    std::future::pending().await
}

/// Registers standard output with the runtime. Fails for a file, which `epoll` does not accept.
#[expect(clippy::disallowed_methods, reason = "nothing is written")]
#[expect(
    deprecated,
    reason = "its successor is `unsafe` for what may close itself; this is an owned descriptor"
)]
fn watched() -> io::Result<AsyncFd<OwnedFd>> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    AsyncFd::with_interest(output, Interest::ERROR)
}
