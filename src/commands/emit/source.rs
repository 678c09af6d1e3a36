//! Reads a file or standard input in chunks.

use std::fs;
use std::os::fd::AsFd as _;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::failure::Failure;

/// The bytes of one read.
const CHUNK: usize = 64 * 1024;

/// An open file or standard input.
pub(super) struct Source {
    name: String,
    reader: Pin<Box<dyn AsyncRead + Send>>,
    buffer: Vec<u8>,
}

impl Source {
    /// Opens the file; `-` is standard input.
    pub(super) async fn open(name: &str) -> Result<Self, Failure> {
        let buffer = vec![0; CHUNK];
        if name == "-" {
            return Ok(Self {
                name: "standard input".to_owned(),
                reader: Box::pin(tokio::io::stdin()),
                buffer,
            });
        }
        let file = tokio::fs::File::open(name)
            .await
            .map_err(|error| Failure::io(format_args!("`{name}`"), &error))?;
        Ok(Self {
            name: format!("`{name}`"),
            reader: Box::pin(file),
            buffer,
        })
    }

    /// Reads the next bytes; none at the end. Cancel safe: a cancelled read takes no bytes.
    pub(super) async fn read(&mut self) -> Result<&[u8], Failure> {
        let length = self
            .reader
            .read(&mut self.buffer)
            .await
            .map_err(|error| Failure::io(&self.name, &error))?;
        Ok(&self.buffer[..length])
    }
}

/// Returns the number of bytes to read; `None` if not all sources are files.
pub(super) fn total_size(files: &[String]) -> Option<u64> {
    let size = |metadata: fs::Metadata| metadata.is_file().then_some(metadata.len());
    let stdin = || {
        // A copy of the descriptor, because dropping the `File` closes it.
        let copy = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
        fs::File::from(copy).metadata().ok().and_then(size)
    };
    if files.is_empty() {
        return stdin();
    }
    files
        .iter()
        .map(|name| {
            if name == "-" {
                stdin()
            } else {
                fs::metadata(name).ok().and_then(size)
            }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of a file is known before it is read to its end.
    #[tokio::test]
    async fn files_are_read_to_their_end() {
        let base = tempfile::tempdir().expect("temporary directory");
        let path = base.path().join("a.log");
        fs::write(&path, vec![b'x'; CHUNK + 10]).expect("written");
        let name = path.display().to_string();
        assert_eq!(total_size(std::slice::from_ref(&name)), Some(CHUNK as u64 + 10));
        let mut source = Source::open(&name).await.expect("opened");
        let mut length = 0;
        loop {
            match source.read().await.expect("read").len() {
                0 => break,
                more => length += more,
            }
        }
        assert_eq!(length, CHUNK + 10);
    }

    /// A missing file is named in the error.
    #[tokio::test]
    async fn a_missing_file_is_named() {
        let failure = Source::open("/no/such.log").await.err().expect("absent");
        assert!(failure.to_string().starts_with("error: `/no/such.log`: "), "{failure}");
        assert_eq!(total_size(&["/no/such.log".to_owned()]), None);
    }
}
