//! How a command fails: a text, what to do about it, and an exit code.
//!
//! Library errors come in through [`Classify`], so `?` is enough; the CLI adds its own with [`Failure::new`].

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use weir_error::{Classify, ErrorKind, chain};

use crate::terminal::note;

/// Why a command ends without having done what was asked.
pub(crate) struct Failure {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    /// The reader of our output went away (`weir tail | head`): nothing failed, there is nothing to say.
    quiet: bool,
}

impl Failure {
    /// A failure with a text in the form of `style.md`: lower case, subject first, no full stop.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            quiet: false,
        }
    }

    /// What the reader can do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `subject`: could not be read, written, … because of `error`.
    pub(crate) fn io(subject: impl fmt::Display, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::Forbidden,
            io::ErrorKind::TimedOut => ErrorKind::Timeout,
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::AddrInUse => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, format!("{subject}: {error}"))
    }

    /// A file that could not be used.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::io(format_args!("`{}`", path.display()), error)
    }

    /// Standard output could not be written; a closed pipe ends the command quietly.
    pub(crate) fn output(error: &io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            quiet,
            ..Self::io("standard output", error)
        }
    }

    /// The kind, for those who act on it.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text, without hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints to standard error and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if self.quiet {
            return ExitCode::SUCCESS;
        }
        // Standard error may be closed as well; the exit code still tells.
        note(&self.to_string());
        ExitCode::from(self.kind.exit_code())
    }
}

impl<E: Classify> From<E> for Failure {
    fn from(error: E) -> Self {
        let message = chain(&error);
        Self {
            kind: error.kind(),
            message,
            hint: error.hint(),
            quiet: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(formatter, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of `style.md`: subject first, cause after a colon, the hint on a line of its own.
    #[test]
    fn it_reads_as_the_style_guide_says() {
        let failure = Failure::new(ErrorKind::NotFound, "state directory `.weir`: no stack here")
            .with_hint("start one with `weir up`");
        assert_eq!(
            failure.to_string(),
            "error: state directory `.weir`: no stack here\nhint: start one with `weir up`"
        );
    }

    /// `weir tail | head` is no failure.
    #[test]
    fn a_closed_pipe_is_quiet() {
        let closed = Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(closed.quiet);
        let full = Failure::output(&io::Error::other("no space left on device"));
        assert!(!full.quiet);
        assert_eq!(full.to_string(), "error: standard output: no space left on device");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("doppler `127.0.0.1:1` cannot be reached")]
    struct Unreachable(#[source] io::Error);

    impl Classify for Unreachable {
        fn kind(&self) -> ErrorKind {
            ErrorKind::Unavailable
        }
        fn hint(&self) -> Option<String> {
            Some("is it running?".to_owned())
        }
    }

    /// A library error brings its causes and its hint along.
    #[test]
    fn library_errors_keep_cause_and_hint() {
        let failure = Failure::from(Unreachable(io::Error::other("connection refused")));
        assert_eq!(
            failure.to_string(),
            "error: doppler `127.0.0.1:1` cannot be reached: connection refused\nhint: is it running?"
        );
        assert_eq!(failure.kind(), ErrorKind::Unavailable);
    }
}
