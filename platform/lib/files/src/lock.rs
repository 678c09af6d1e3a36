//! Locks between processes.
//!
//! All of them are advisory locks on a file, which the system frees however their holder ends: a process that was killed keeps
//! no other process out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Waits for the lock on the file at `path`, which is made if it is missing, and holds it until the result is dropped.
///
/// # Errors
/// When the file cannot be opened for writing, or its file system knows no locks.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    file.lock()?;
    Ok(file)
}

/// Takes the lock on the file at `path`, which is made if it is missing, and holds it until the result is dropped; `None` if
/// another holder has it.
///
/// # Errors
/// When the file cannot be opened for writing, or its file system knows no locks.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the lock on the file at `path` is held. A file that is missing, or cannot be read, is not locked.
#[must_use]
pub fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lock has one holder, others see that it is held, and it is free after its holder.
    #[test]
    fn a_lock_has_one_holder() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("lock");
        assert!(!is_locked(&path));
        let held = try_lock(&path).unwrap();
        assert!(held.is_some());
        assert!(is_locked(&path));
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(!is_locked(&path));
        drop(lock(&path).unwrap());
        assert!(try_lock(&base.path().join("absent/lock")).is_err());
    }
}
