//! Writes the files of the CA: each in one step, and private where it has to be.

use std::fs::File;
use std::io;
use std::path::Path;

use weir_files::Readers;

use crate::TlsError;

/// Makes sure that the directory `dir` exists, and that no other user can read it.
pub(crate) fn private_directory(dir: &Path) -> Result<(), TlsError> {
    weir_files::private_directory(dir).map_err(|source| unwritable(dir, source))
}

/// Keeps other processes from issuing certificates in `dir` until the returned file is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, TlsError> {
    let path = dir.join(".lock");
    weir_files::lock(&path).map_err(|source| unwritable(&path, source))
}

/// Replaces the file `path` by `content` in one step. A reader sees the old file or the new one, and so does a restart
/// after a crash.
pub(crate) fn replace(path: &Path, content: &str, readers: Readers) -> Result<(), TlsError> {
    weir_files::replace(path, content.as_bytes(), readers).map_err(|source| unwritable(path, source))
}

fn unwritable(path: &Path, source: io::Error) -> TlsError {
    TlsError::Unwritable {
        path: path.to_owned(),
        source,
    }
}
