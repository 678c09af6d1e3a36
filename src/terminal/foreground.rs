//! Standard output of a command that stays in the foreground: texts, and a status line below them.

use std::io::{self, Write as _};

use super::output::{line_for_stdout, stdout_is_neutral};
use super::{LiveLine, stdout_is_terminal};
use weir_telemetry::neutral_rows;

/// Standard output with texts and a status line, which is rewritten in place on a terminal. Errors of writing are ignored: a
/// stack goes on if its output is closed.
#[derive(Debug)]
pub(crate) struct Foreground {
    is_terminal: bool,
    line: LiveLine,
}

#[expect(clippy::disallowed_methods, reason = "one of the places where commands write")]
impl Foreground {
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: stdout_is_terminal(),
            line: LiveLine::default(),
        }
    }

    /// Returns whether standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Prints a text of any number of lines.
    pub(crate) fn print(&mut self, text: &str) {
        let mut stdout = io::stdout();
        self.line.clear(&mut stdout).ok();
        if stdout_is_neutral() {
            writeln!(stdout, "{}", neutral_rows(text)).ok();
        } else {
            writeln!(stdout, "{text}").ok();
        }
        stdout.flush().ok();
    }

    /// Shows the status. On a terminal it replaces the last one; otherwise it is printed as a further line.
    pub(crate) fn status(&mut self, text: &str) {
        if self.is_terminal {
            self.line.show(&mut io::stdout(), &line_for_stdout(text)).ok();
        } else {
            self.print(text);
        }
    }
}
