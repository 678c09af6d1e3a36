//! Small files that only their owner may read: the master key, a password, the clients' secrets.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_files::Readers;

/// The size of a file in bytes above which it is not read. The files of this program are far smaller.
const LONGEST: u64 = 1 << 20;

/// A private file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file cannot be read or created.
    #[error("file `{}` cannot be {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Other users can read the file.
    #[error("file `{}` can be read by other users (mode {mode:03o})", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The permission bits of the file.
        mode: u32,
    },
    /// The content of the file cannot be used.
    #[error("file `{}` holds no {wanted}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The content that is expected.
        wanted: &'static str,
    },
}

impl Classify for FileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Open { .. } | Self::Content { .. } => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { .. } => "check the folder's owner and mode".to_owned(),
            Self::Open { path, .. } => format!("run `chmod 600 {}`", path.display()),
            Self::Content { path, .. } => format!("restore `{}` from a backup", path.display()),
        })
    }
}

/// Returns the content of the file; `None` if there is no file.
pub fn read(path: &Path) -> Result<Option<String>, FileError> {
    let failed = |source| FileError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // The group may read: operators give a group of theirs access to a secret.
    if metadata.mode() & 0o007 != 0 {
        return Err(FileError::Open {
            path: path.to_owned(),
            mode: metadata.mode() & 0o777,
        });
    }
    if metadata.len() > LONGEST {
        return Err(FileError::Content {
            path: path.to_owned(),
            wanted: "text of a sensible length",
        });
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(FileError::Content {
            path: path.to_owned(),
            wanted: "text",
        }),
        Err(error) => Err(failed(error)),
    }
}

/// Returns the content of the file. An absent file is created with `fresh`. Several processes that do this at the same time get
/// the content of one of them.
pub fn read_or_create(path: &Path, fresh: impl FnOnce() -> String) -> Result<String, FileError> {
    if let Some(text) = read(path)? {
        return Ok(text);
    }
    make_folder(path)
        .and_then(|()| weir_files::create(path, fresh().as_bytes(), Readers::Owner))
        .map_err(|source| unwritable(path, source))?;
    read(path)?.ok_or_else(|| FileError::Io {
        path: path.to_owned(),
        action: "read",
        source: io::ErrorKind::NotFound.into(),
    })
}

/// Replaces the content of the file atomically.
pub fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    make_folder(path)
        .and_then(|()| weir_files::replace(path, text.as_bytes(), Readers::Owner))
        .map_err(|source| unwritable(path, source))
}

fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => fs::create_dir_all(folder),
        None => Ok(()),
    }
}

fn unwritable(path: &Path, source: io::Error) -> FileError {
    FileError::Io {
        path: path.to_owned(),
        action: "written",
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A file is created once and for its owner only, and is refused if other users can read it.
    #[test]
    fn a_file_is_created_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/secret");
        assert_eq!(read(&path).unwrap(), None);
        assert_eq!(read_or_create(&path, || "one".to_owned()).unwrap(), "one");
        assert_eq!(read_or_create(&path, || "two".to_owned()).unwrap(), "one");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        replace(&path, "three").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("three"));
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left over"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&path), Err(FileError::Open { mode: 0o644, .. })));
    }
}
