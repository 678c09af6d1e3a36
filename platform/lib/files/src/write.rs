//! Writing: a file with its whole content, or no change at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which users of the machine may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// The user that Weir runs as (mode 0600): for everything that holds a secret.
    Owner,
    /// Every user (mode 0644).
    Everybody,
}

impl Readers {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o644,
        }
    }
}

/// Puts `content` in the place of what the file at `path` held, or makes the file. The directory must exist.
///
/// # Errors
/// When the directory cannot be written to or the disk is full; the file is then as it was.
pub fn replace(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let partial = write_partial(path, content, readers)?;
    fs::rename(&partial, path).inspect_err(|_| discard(&partial))?;
    sync_directory(path)
}

/// Makes the file at `path` with `content` unless there is one already; returns whether it was made. Of several processes
/// that do so at once, one makes the file. The directory must exist.
///
/// # Errors
/// When the directory cannot be written to or the disk is full; there is then no file.
pub fn create(path: &Path, content: &[u8], readers: Readers) -> io::Result<bool> {
    let partial = write_partial(path, content, readers)?;
    // Unlike a rename, a link does not replace what another process has made meanwhile.
    let linked = fs::hard_link(&partial, path);
    discard(&partial);
    match linked {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes and syncs a file beside `path` under a name that no other writer uses.
fn write_partial(path: &Path, content: &[u8], readers: Readers) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let partial = beside(path, &format!(".{}-{number}.new", process::id()))?;
    // A process of the same number may have been killed while it wrote.
    discard(&partial);
    let attempt = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(readers.mode())
            .open(&partial)?;
        file.write_all(content)?;
        file.sync_all()
    };
    attempt().inspect_err(|_| discard(&partial))?;
    Ok(partial)
}

/// The path of a file in the directory of `path` whose name is that of `path` with `suffix`.
pub(crate) fn beside(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut name = OsString::from(name);
    name.push(suffix);
    Ok(path.with_file_name(name))
}

/// Makes the last change of a name in the directory of `path` survive a power cut.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// Removes a partial file. A failure is of no concern: nothing reads the file.
fn discard(partial: &Path) {
    drop(fs::remove_file(partial));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// A second write replaces content and mode, and leaves no other file in the directory.
    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("state.json");
        replace(&path, b"first and longer", Readers::Everybody).unwrap();
        assert_eq!(mode(&path), 0o644);
        replace(&path, b"second", Readers::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }

    /// The first of two creators wins, and the second one learns it.
    #[test]
    fn a_file_is_made_once() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("token");
        assert!(create(&path, b"one", Readers::Owner).unwrap());
        assert!(!create(&path, b"two", Readers::Owner).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }

    /// A write that fails leaves the old file and nothing else.
    #[test]
    fn a_failed_write_changes_nothing() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("folder");
        fs::create_dir_all(path.join("not-empty")).unwrap();
        assert!(
            replace(&path, b"x", Readers::Owner).is_err(),
            "a directory is in the way"
        );
        assert!(replace(&base.path().join("absent/file"), b"x", Readers::Owner).is_err());
        assert!(replace(Path::new("/"), b"x", Readers::Owner).is_err());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }
}
