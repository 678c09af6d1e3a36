//! Standard output of a command that streams: buffered, flushed when there is nothing more to write just now.

use std::io::{self, BufWriter, Stdout, Write as _};

use crate::failure::Failure;

const BUFFER: usize = 64 * 1024;

/// Writes bytes as they are. A reader who went away ends the command quietly (see [`Failure::output`]).
#[derive(Debug)]
pub(crate) struct Output {
    writer: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self {
            writer: BufWriter::with_capacity(BUFFER, io::stdout()),
        }
    }

    /// Adds bytes to the output.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(|error| Failure::output(&error))
    }

    /// Makes everything written so far visible.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| Failure::output(&error))
    }

    /// A line and its end, at once visible.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text.as_bytes())?;
        self.write(b"\n")?;
        self.flush()
    }
}

/// A remark that is not part of the output, on standard error. If that is closed, nobody misses it.
pub(crate) fn note(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}
