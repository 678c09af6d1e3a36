//! Watches files that may be replaced at any time.
//!
//! The file is checked a few times per second. A `stat` costs a microsecond, works on every file system, and detects a
//! file that is renamed into place.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time between two checks.
const INTERVAL: Duration = Duration::from_millis(200);

/// The size in bytes of the largest file that is read: 64 MiB.
const MAX_SIZE: u64 = 64 << 20;

/// A watched file, and its signature when it was last read.
#[derive(Debug)]
pub(crate) struct FileWatch {
    path: PathBuf,
    seen: Option<Signature>,
}

/// The metadata that changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signature {
    Absent,
    Unreadable(io::ErrorKind),
    Is {
        device: u64,
        inode: u64,
        length: u64,
        seconds: i64,
        nanoseconds: i64,
    },
}

impl Signature {
    fn of(metadata: &io::Result<Metadata>) -> Self {
        match metadata {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Absent,
            Err(error) => Self::Unreadable(error.kind()),
            Ok(metadata) => Self::Is {
                device: metadata.dev(),
                inode: metadata.ino(),
                length: metadata.len(),
                seconds: metadata.mtime(),
                nanoseconds: metadata.mtime_nsec(),
            },
        }
    }
}

impl FileWatch {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            seen: None,
        }
    }

    /// Waits until the file differs from what was last read, and reads it. The first call returns at once. Returns
    /// `None` if the file does not exist. Cancel safe.
    pub(crate) async fn changed(&mut self) -> io::Result<Option<String>> {
        loop {
            // Checking is cheaper than reading, and works on file systems without change notifications.
            let signature = Signature::of(&tokio::fs::metadata(&self.path).await);
            if self.seen != Some(signature) {
                let read = read(&self.path, signature).await;
                // The signature is older than the content: if the file is replaced during the read, the next check sees
                // a difference.
                self.seen = Some(signature);
                return read;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

async fn read(path: &Path, signature: Signature) -> io::Result<Option<String>> {
    match signature {
        Signature::Absent => Ok(None),
        Signature::Is { length, .. } if length > MAX_SIZE => {
            Err(io::Error::other(format!("it is larger than {MAX_SIZE} bytes")))
        }
        Signature::Is { .. } | Signature::Unreadable(_) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first call returns the current content, and later ones wait for a rewrite, a rename into place, or a
    /// removal.
    #[tokio::test(start_paused = true)]
    async fn every_change_is_seen() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("drains.json");
        let mut watch = FileWatch::new(&path);
        assert_eq!(watch.changed().await.unwrap(), None);
        async fn wait(watch: &mut FileWatch) -> io::Result<Option<String>> {
            tokio::time::timeout(Duration::from_secs(30), watch.changed())
                .await
                .unwrap()
        }
        std::fs::write(&path, "one").unwrap();
        assert_eq!(wait(&mut watch).await.unwrap().as_deref(), Some("one"));
        let fresh = base.path().join("fresh");
        std::fs::write(&fresh, "two").unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        assert_eq!(wait(&mut watch).await.unwrap().as_deref(), Some("two"));
        let quiet = tokio::time::timeout(Duration::from_millis(500), watch.changed()).await;
        assert!(quiet.is_err(), "nothing has changed");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(wait(&mut watch).await.unwrap(), None);
        std::fs::create_dir(&path).unwrap();
        assert!(wait(&mut watch).await.is_err(), "a directory is no file");
    }
}
