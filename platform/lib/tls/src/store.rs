//! Files that are whole or not there, and private where they must be.

use std::fs::File;
use std::io;
use std::path::Path;

use weir_files::Readers;

use crate::TlsError;

/// Makes sure that `dir` exists and that no other user looks into it.
pub(crate) fn private_directory(dir: &Path) -> Result<(), TlsError> {
    weir_files::private_directory(dir).map_err(|source| unwritable(dir, source))
}

/// Keeps other processes from making certificates in `dir` until the result is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, TlsError> {
    let path = dir.join(".lock");
    weir_files::lock(&path).map_err(|source| unwritable(&path, source))
}

/// Replaces `path` by `content` in one step: readers and a crash see the old file or the new one.
pub(crate) fn replace(path: &Path, content: &str, readers: Readers) -> Result<(), TlsError> {
    weir_files::replace(path, content.as_bytes(), readers).map_err(|source| unwritable(path, source))
}

fn unwritable(path: &Path, source: io::Error) -> TlsError {
    TlsError::Unwritable {
        path: path.to_owned(),
        source,
    }
}
