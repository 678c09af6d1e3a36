//! Reading: what a file holds, or nothing after setting a broken one aside.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::write::{beside, sync_directory};

/// Longest file that is read, in bytes. A longer one is as broken as one that cannot be parsed.
const LONGEST: u64 = 256 << 20;

/// Reads the file at `path` by `parse`. `None` if there is no file, or if it is too long or `parse` refuses its content: then
/// the file is renamed to `NAME.broken-<time>`, and a warning says so.
///
/// # Errors
/// When the file cannot be read, or a broken one cannot be renamed.
pub fn read_or_set_aside<T, E: Display>(
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> io::Result<Option<T>> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let problem = if length > LONGEST {
        format!("it is longer than {LONGEST} bytes")
    } else {
        match parse(&fs::read(path)?) {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error.to_string(),
        }
    };
    let kept_as = set_aside(path)?;
    tracing::warn!(
        file = %path.display(),
        kept_as = %kept_as.display(),
        problem,
        "state file is broken: it was set aside, and a new one is begun"
    );
    Ok(None)
}

/// Renames a broken file, to a name that is not taken.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the time is a part of a name for people; this crate is below the one with the clock"
    )]
    let now = DateTime::<Utc>::from(SystemTime::now());
    let stamp = now.format("%Y%m%dT%H%M%SZ");
    let mut kept_as = beside(path, &format!(".broken-{stamp}"))?;
    let mut number = 1;
    while kept_as.exists() {
        number += 1;
        kept_as = beside(path, &format!(".broken-{stamp}-{number}"))?;
    }
    fs::rename(path, &kept_as)?;
    sync_directory(path)?;
    Ok(kept_as)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &[u8]) -> serde_json::Result<Vec<u64>> {
        serde_json::from_slice(text)
    }

    /// A file that is absent, and each kind of broken file, is as good as none; what a broken file held is still there.
    #[test]
    fn broken_files_are_set_aside() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("numbers.json");
        assert_eq!(read_or_set_aside(&path, numbers).unwrap(), None);
        fs::write(&path, "[1,2]").unwrap();
        assert_eq!(read_or_set_aside(&path, numbers).unwrap(), Some(vec![1, 2]));
        let broken = ["", "[1,", "\0\0\0\0"];
        for text in broken {
            fs::write(&path, text).unwrap();
            assert_eq!(read_or_set_aside(&path, numbers).unwrap(), None, "{text:?}");
            assert!(!path.exists());
        }
        let mut kept: Vec<String> = fs::read_dir(base.path())
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, ["", "\0\0\0\0", "[1,"]);
    }

    /// A directory in the place of the file is an error that the caller has to tell.
    #[test]
    fn what_is_no_file_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        assert!(read_or_set_aside(base.path(), numbers).is_err());
    }
}
