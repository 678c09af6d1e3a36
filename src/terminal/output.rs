//! Standard output and standard error: all output of commands goes through this module.
//!
//! Much of the text comes from applications and servers: source ids, tags, rows of a query. On a terminal it is made
//! [`neutral`], so that no application can write to the operator's clipboard or hide lines by control characters; `--raw` turns
//! that off. Files and pipes get every byte unchanged. The bodies of logs are unchanged on a terminal as well, for `weir tail`
//! and `weir recent`: see [`Output::program`].

use std::borrow::Cow;
use std::io::{self, BufWriter, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use weir_telemetry::{Neutralizer, neutral, neutral_rows};

use super::pager::Pager;
use super::{stderr_is_terminal, stdout_has_colour, stdout_is_terminal};
use crate::failure::Failure;

/// The number of bytes that are buffered before they are written.
const BUFFER: usize = 64 * 1024;

/// Whether the user asked for unchanged control characters (`--raw`).
static RAW: AtomicBool = AtomicBool::new(false);

/// Turns neutralizing off for this process: `--raw`.
pub(crate) fn show_raw() {
    RAW.store(true, Ordering::Relaxed);
}

/// Returns whether standard output needs neutral text.
pub(crate) fn stdout_is_neutral() -> bool {
    stdout_is_terminal() && !RAW.load(Ordering::Relaxed)
}

/// Makes a text of several lines neutral, if standard error needs that.
fn for_stderr(text: &str) -> Cow<'_, str> {
    if stderr_is_terminal() && !RAW.load(Ordering::Relaxed) {
        neutral_rows(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// Makes one line neutral, if standard output needs that.
pub(super) fn line_for_stdout(text: &str) -> Cow<'_, str> {
    if stdout_is_neutral() {
        neutral(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// A colour of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Green,
    Yellow,
    Red,
}

impl Colour {
    const fn sequence(self) -> &'static str {
        match self {
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[31m",
        }
    }
}

/// The output of a command: standard output, or a pager.
#[derive(Debug)]
enum Sink {
    Stdout(Stdout),
    Pager(Pager),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::Pager(pager) => pager.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::Pager(pager) => pager.flush(),
        }
    }
}

/// The buffered standard output of a command. It is to be flushed before the command waits for anything. A closed reader ends
/// the command without a message (see [`Failure::output`]).
#[derive(Debug)]
pub(crate) struct Output {
    writer: BufWriter<Sink>,
    /// Replaces control characters, on a terminal.
    neutralizer: Option<Neutralizer>,
    has_colour: bool,
    shown: Vec<u8>,
}

impl Output {
    #[expect(clippy::disallowed_methods, reason = "the one place where commands write")]
    pub(crate) fn stdout() -> Self {
        Self::to(Sink::Stdout(io::stdout()))
    }

    /// Returns standard output, through the user's pager if it is a terminal. To be ended by [`Output::close`].
    pub(crate) fn paged() -> Self {
        let pager = stdout_is_terminal().then(Pager::start).flatten();
        pager.map_or_else(Self::stdout, |pager| Self::to(Sink::Pager(pager)))
    }

    fn to(sink: Sink) -> Self {
        Self {
            writer: BufWriter::with_capacity(BUFFER, sink),
            neutralizer: stdout_is_neutral().then(Neutralizer::default),
            has_colour: stdout_has_colour(),
            shown: Vec::new(),
        }
    }

    /// Writes text of any number of lines.
    pub(crate) fn text(&mut self, text: &[u8]) -> Result<(), Failure> {
        let Some(neutralizer) = &mut self.neutralizer else {
            return self.program(text);
        };
        self.shown.clear();
        neutralizer.push(text, &mut self.shown);
        self.writer
            .write_all(&self.shown)
            .map_err(|error| Failure::output(&error))
    }

    /// Writes one line and a newline, and flushes. On a terminal, a newline within the text is shown as a symbol.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        let shown = line_for_stdout(text);
        self.program(shown.as_bytes())?;
        self.program(b"\n")?;
        self.flush()
    }

    /// Writes one word of our own, coloured if the output has colours.
    pub(crate) fn word(&mut self, colour: Colour, word: &'static str) -> Result<(), Failure> {
        let (begin, end) = if self.has_colour {
            (colour.sequence(), "\x1b[0m")
        } else {
            ("", "")
        };
        for part in [begin, word, end] {
            self.program(part.as_bytes())?;
        }
        Ok(())
    }

    /// Writes bytes unchanged, also to a terminal: the bodies of logs, and the text around them that [`crate::render`] has
    /// neutralized.
    pub(crate) fn program(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(|error| Failure::output(&error))
    }

    /// Writes the buffered text.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        if let Some(neutralizer) = &mut self.neutralizer {
            self.shown.clear();
            neutralizer.finish(&mut self.shown);
            self.writer
                .write_all(&self.shown)
                .map_err(|error| Failure::output(&error))?;
        }
        self.writer.flush().map_err(|error| Failure::output(&error))
    }

    /// Writes the buffered text, and waits until the user has left the pager if there is one.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        let flushed = self.flush();
        match self.writer.into_parts().0 {
            Sink::Stdout(_) => flushed,
            Sink::Pager(pager) => pager.wait().and(flushed),
        }
    }
}

/// Prints a remark to standard error. An error of writing is ignored.
#[expect(clippy::disallowed_methods, reason = "the one place where commands write")]
pub(crate) fn note(text: &str) {
    writeln!(io::stderr(), "{}", for_stderr(text)).ok();
}

/// Prints a question to standard error without a newline, so that the answer is typed after it.
#[expect(clippy::disallowed_methods, reason = "the one place where commands write")]
pub(crate) fn ask(question: &str) {
    write!(io::stderr(), "{}", for_stderr(question)).ok();
}
