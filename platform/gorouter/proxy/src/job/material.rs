//! Certificates and keys of a job file, as files.

use std::io;
use std::path::{Path, PathBuf};

use weir_files::Readers;

/// A private directory for certificates and keys.
#[derive(Debug)]
pub(super) struct Material {
    directory: PathBuf,
}

impl Material {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        weir_files::private_directory(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// A file with this content.
    pub(super) fn file(&self, name: &str, pem: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        weir_files::replace(&path, pem.as_bytes(), Readers::Owner)?;
        Ok(path)
    }
}
