//! Directories that only their owner looks into.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes the directory at `path`, and those above it, for their owner alone (mode 0700). Directories that are there stay as they
/// are: this is for places that the operator names.
///
/// # Errors
/// When it cannot be made, or a file has its name.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the directory at `path` as [`make_directory`] does, and takes the rights of all other users away if it was there: this
/// is for directories that belong to Weir.
///
/// # Errors
/// When it cannot be made, or belongs to another user.
pub fn private_directory(path: &Path) -> io::Result<()> {
    make_directory(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// A new directory is private; one that is there is made so only if it is asked for.
    #[test]
    fn directories_are_private() {
        let base = tempfile::tempdir().unwrap();
        let new = base.path().join("one/two");
        make_directory(&new).unwrap();
        assert_eq!((mode(&new), mode(&base.path().join("one"))), (0o700, 0o700));
        let open = base.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        make_directory(&open).unwrap();
        assert_eq!(mode(&open), 0o755);
        private_directory(&open).unwrap();
        assert_eq!(mode(&open), 0o700);
        fs::write(base.path().join("file"), "").unwrap();
        assert!(make_directory(&base.path().join("file")).is_err());
    }
}
