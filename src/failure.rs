//! The failure of a command: a text, a hint, and an exit code.
//!
//! Errors of libraries are converted through [`Classify`], so that `?` is enough. Commands create others with [`Failure::new`].

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use weir_error::{Classify, ErrorKind, chain};

use crate::terminal::note;

/// The reason for which a command fails.
pub(crate) struct Failure {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    /// Whether the reader of the output went away (`weir tail | head`). Then nothing is printed, and the exit code is 0.
    quiet: bool,
}

impl Failure {
    /// Returns a failure. The text is lower case, has its subject first, and no full stop.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            quiet: false,
        }
    }

    /// Adds a hint: what the user can do.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the failure of an operation on `subject`.
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

    /// Returns the failure of an operation on a file.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::io(format_args!("`{}`", path.display()), error)
    }

    /// Returns the failure to write standard output. It is quiet if the pipe was closed.
    pub(crate) fn output(error: &io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            quiet,
            ..Self::io("standard output", error)
        }
    }

    /// Returns the kind of the failure.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the text without the hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints the failure to standard error, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if self.quiet {
            return ExitCode::SUCCESS;
        }
        // Standard error may be closed too. The exit code still tells the failure.
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

    /// The text has its subject first, the cause after a colon, and the hint on its own line.
    #[test]
    fn a_hint_has_its_own_line() {
        let failure = Failure::new(ErrorKind::NotFound, "state directory `.weir`: no stack here")
            .with_hint("start one with `weir up`");
        assert_eq!(
            failure.to_string(),
            "error: state directory `.weir`: no stack here\nhint: start one with `weir up`"
        );
    }

    /// A closed pipe is quiet (`weir tail | head`), and a full disk is not.
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

    /// A failure from a library error has its causes and its hint.
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
