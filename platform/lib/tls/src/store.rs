//! Files that are whole or not there, and private where they must be.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::TlsError;

/// Makes sure that `dir` exists and that nobody else looks into it.
pub(crate) fn private_directory(dir: &Path) -> Result<(), TlsError> {
    let attempt = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        }
        Ok(())
    };
    attempt().map_err(|source| unwritable(dir, source))
}

/// Keeps other processes from making certificates in `dir` until the result is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, TlsError> {
    let path = dir.join(".lock");
    let attempt = || -> io::Result<File> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    attempt().map_err(|source| unwritable(&path, source))
}

/// Replaces `path` by `content` in one step: readers and a crash see the old file or the new one. The directory's lock
/// must be held.
pub(crate) fn replace(path: &Path, content: &str, mode: u32) -> Result<(), TlsError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".new");
    let partial = Path::new(&partial);
    let attempt = || -> io::Result<()> {
        match fs::remove_file(partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(partial)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(partial, path)?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    };
    attempt().map_err(|source| unwritable(path, source))
}

fn unwritable(path: &Path, source: io::Error) -> TlsError {
    TlsError::Unwritable {
        path: path.to_owned(),
        source,
    }
}
