//! A file of the state directory that commands change: closed to others, replaced as a whole, changed by one command at a
//! time.

use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use weir_error::ErrorKind;
use weir_files::Readers;

use crate::failure::Failure;

/// The file, for one command. Others wait until it is dropped.
#[derive(Debug)]
pub(crate) struct Edited {
    path: PathBuf,
    /// Closing it frees the lock.
    _lock: File,
}

impl Edited {
    /// Takes the file; waits for another command that has it, which is a matter of milliseconds.
    pub(crate) fn take(path: &Path) -> Result<Self, Failure> {
        let lock_path = path.with_extension("lock");
        let lock = weir_files::lock(&lock_path).map_err(|error| Failure::file(&lock_path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The content; the default if there is no file.
    pub(crate) fn read<T: Default, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Failure> {
        read(&self.path, parse)
    }

    /// Replaces the content.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        let written = weir_files::replace(&self.path, text.as_bytes(), Readers::Owner);
        written.map_err(|error| Failure::file(&self.path, &error))
    }
}

/// The content of such a file; the default if there is none.
pub(crate) fn read<T: Default, E: Display>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|error| {
            Failure::new(ErrorKind::InvalidInput, format!("`{}`: {error}", path.display()))
                .with_hint("mend it by hand, or remove it and add again what was in it")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(Failure::file(path, &error)),
    }
}
