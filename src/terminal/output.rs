//! The way to standard output and standard error: everything that a command says goes through here.
//!
//! Much of it was written by others: source ids, tags, rows of a query, texts of servers. On a terminal it is made
//! [`neutral`], so that no application can write the operator's clipboard or hide what it did; `--raw` turns that off.
//! Files and pipes get every byte as it is. What a program wrote as its log is the exception, for `weir tail` and
//! `weir recent`: see [`Output::program`].

use std::borrow::Cow;
use std::io::{self, BufWriter, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use weir_telemetry::{Neutralizer, neutral, neutral_rows};

use super::pager::Pager;
use super::{stderr_is_terminal, stdout_has_colour, stdout_is_terminal};
use crate::failure::Failure;

const BUFFER: usize = 64 * 1024;

/// Whether the user asked for control characters as they are.
static RAW: AtomicBool = AtomicBool::new(false);

/// From now on, terminals get text of others as it is: `--raw`.
pub(crate) fn show_raw() {
    RAW.store(true, Ordering::Relaxed);
}

/// Whether text of others has to be made neutral on standard output.
pub(crate) fn stdout_is_neutral() -> bool {
    stdout_is_terminal() && !RAW.load(Ordering::Relaxed)
}

/// A text of several lines, as standard error may be given it.
fn for_stderr(text: &str) -> Cow<'_, str> {
    if stderr_is_terminal() && !RAW.load(Ordering::Relaxed) {
        neutral_rows(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// One line, as standard output may be given it.
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

/// Standard output of a command: buffered, flushed when there is nothing more to write just now. A reader who went away
/// ends the command quietly (see [`Failure::output`]).
#[derive(Debug)]
pub(crate) struct Output {
    writer: BufWriter<Sink>,
    /// What makes text of others harmless, on a terminal.
    neutralizer: Option<Neutralizer>,
    has_colour: bool,
    shown: Vec<u8>,
}

impl Output {
    #[expect(clippy::disallowed_methods, reason = "the one place where commands write")]
    pub(crate) fn stdout() -> Self {
        Self::to(Sink::Stdout(io::stdout()))
    }

    /// Standard output behind the user's pager, if it is a terminal; to be ended by [`Output::close`].
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

    /// Adds text of any number of lines.
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

    /// Adds one line and its end, at once visible. A newline within the text is no other line: on a terminal it is shown as
    /// what it is.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        let shown = line_for_stdout(text);
        self.program(shown.as_bytes())?;
        self.program(b"\n")?;
        self.flush()
    }

    /// Adds one word of our own, in `colour` where there are colours.
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

    /// Adds bytes as they are, for a terminal as well: what a program wrote as its log, and what [`crate::render`] has made
    /// neutral around that.
    pub(crate) fn program(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(|error| Failure::output(&error))
    }

    /// Makes everything written so far visible.
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

    /// Makes everything visible, and waits until the reader has left the pager if there is one.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        let flushed = self.flush();
        match self.writer.into_parts().0 {
            Sink::Stdout(_) => flushed,
            Sink::Pager(pager) => pager.wait().and(flushed),
        }
    }
}

/// A remark that is not part of the output, on standard error. If that is closed, nobody misses it.
#[expect(clippy::disallowed_methods, reason = "the one place where commands write")]
pub(crate) fn note(text: &str) {
    writeln!(io::stderr(), "{}", for_stderr(text)).ok();
}

/// A question, on standard error; the answer is typed behind it.
#[expect(clippy::disallowed_methods, reason = "the one place where commands write")]
pub(crate) fn ask(question: &str) {
    write!(io::stderr(), "{}", for_stderr(question)).ok();
}
