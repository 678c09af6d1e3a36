//! Locks between processes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Waits for the advisory lock on the file at `path`, which is made if it is missing, and holds it until the result is
/// dropped. The system frees the lock of a process that was killed.
///
/// # Errors
/// When the file cannot be opened for writing, or its file system knows no locks.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}
