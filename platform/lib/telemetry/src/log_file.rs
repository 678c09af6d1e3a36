//! A log file with a bounded size, for standard error that a supervisor appends to a file.
//!
//! When the file is full, it is copied to `FILE.1`, which replaces the previous copy, and emptied. So the last 16 MiB,
//! and up to 16 MiB before these, are available. The writing process does this between two lines, so that no line is
//! missing in both files. Output that does not pass through here, such as that of a panic, is appended to the file as
//! well.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// The size in bytes that a log file may reach before it is set aside.
pub const LOG_FILE_BYTES: u64 = 16 << 20;

/// Writes to standard error, which is appended to a file.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    length: Mutex<u64>,
}

impl LogFile {
    /// Creates a writer for the file at `path` with its current length.
    pub(crate) fn new(path: PathBuf) -> Self {
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self {
            path,
            length: Mutex::new(length),
        }
    }

    fn write_to(&self, mut out: impl Write, bytes: &[u8]) -> io::Result<usize> {
        // Held during the write, so that lines of several threads are not mixed, and the length is right.
        let mut length = self.length.lock();
        if *length + bytes.len() as u64 > LOG_FILE_BYTES {
            // If this fails, for example on a full disk, it is tried again after the next 16 MiB. Lines are not delayed
            // by it.
            drop(empty(&self.path));
            *length = 0;
        }
        out.write_all(bytes)?;
        *length += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// Returns the path of the previous file.
fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Copies the file and then empties it. A process that appends to it continues at its beginning.
fn empty(path: &Path) -> io::Result<()> {
    // Copied and truncated instead of renamed: the file is standard error, which stays open.
    fs::copy(path, before(path))?;
    fs::File::options().write(true).open(path)?.set_len(0)
}

/// Sets the log file at `path` aside if it is full. This must be called before a process is started that appends to the
/// file, because a process that ends before it logs would otherwise let the file grow with each start.
///
/// # Errors
/// Returns an error if the file cannot be renamed.
pub fn set_full_log_aside(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > LOG_FILE_BYTES => fs::rename(path, before(path)),
        _ => Ok(()),
    }
}

impl Write for &LogFile {
    #[expect(clippy::disallowed_methods, reason = "the formats make text of others neutral")]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_to(io::stderr(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for LogFile {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full file, and one that grows to the bound line by line: neither exceeds the bound, and each line is in one of
    /// the two files.
    #[test]
    fn a_full_file_begins_anew() {
        let dir = std::env::temp_dir().join(format!("weir-log-file-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("doppler.log");
        fs::write(&path, "").unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        let log = LogFile::new(path.clone());
        let line = [b'x'; 1 << 20];
        for _ in 0..16 {
            log.write_to(&file, &line).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), LOG_FILE_BYTES);
        log.write_to(&file, b"next\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"next\n");
        assert_eq!(fs::metadata(before(&path)).unwrap().len(), LOG_FILE_BYTES);

        set_full_log_aside(&path).unwrap();
        assert!(path.exists(), "it is not full");
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(LOG_FILE_BYTES + 1)
            .unwrap();
        set_full_log_aside(&path).unwrap();
        assert!(!path.exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
