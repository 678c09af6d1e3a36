//! The pager of a terminal: output that is longer than the screen is read in `less`, or in the program that `$PAGER` names.
//!
//! As in git, `$PAGER` is a shell command, and an empty one or `cat` means no pager. Unless it is set, `LESS` tells `less` to
//! quit if the text fits on the screen (`F`), to pass colours through (`R`) and to leave the text on the screen (`X`).

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use tokio::signal::unix::{SignalKind, signal};
use weir_error::ErrorKind;

use crate::failure::Failure;

/// The exit status of a shell that does not find the program (POSIX `sh`).
const NOT_FOUND: i32 = 127;

/// A running pager, to which text is written.
#[derive(Debug)]
pub(crate) struct Pager {
    child: Child,
    /// `None` once all text is written.
    input: Option<ChildStdin>,
    command: Option<String>,
}

impl Pager {
    /// Starts the user's pager, if there is one. From then on this process ignores an interrupt (Ctrl-C), which is meant for the
    /// pager.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn start() -> Option<Self> {
        let wanted = std::env::var("PAGER").ok();
        let mut command = command(wanted.as_deref())?;
        let mut child = command.stdin(Stdio::piped()).spawn().ok()?;
        // Tokio's handler stays installed after this drop. Without it, an interrupt would end this process under the pager.
        drop(signal(SignalKind::interrupt()));
        Some(Self {
            input: child.stdin.take(),
            child,
            command: wanted,
        })
    }

    /// Ends the text and waits until the user leaves the pager.
    ///
    /// # Errors
    /// If the shell does not find the program, or waiting fails.
    pub(crate) fn wait(mut self) -> Result<(), Failure> {
        drop(self.input.take());
        let status = self.child.wait().map_err(|error| Failure::io("pager", &error))?;
        match self.command {
            Some(command) if status.code() == Some(NOT_FOUND) => {
                let message = format!("pager `{command}`: no such program");
                Err(Failure::new(ErrorKind::NotFound, message).with_hint("correct `PAGER`, or use `--no-pager`"))
            }
            _ => Ok(()),
        }
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.input {
            Some(input) => input.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the command of the pager for a value of `$PAGER`; `None` if the user wants none.
fn command(wanted: Option<&str>) -> Option<Command> {
    let mut command = match wanted.map(str::trim) {
        None => Command::new("less"),
        Some("" | "cat") => return None,
        Some(wanted) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(wanted);
            shell
        }
    };
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(wanted: Option<&str>) -> Option<Vec<String>> {
        let command = command(wanted)?;
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        Some(words.map(|word| word.to_string_lossy().into_owned()).collect())
    }

    /// `less` is the default; an empty value and `cat` mean no pager.
    #[test]
    fn the_environment_names_the_pager() {
        assert_eq!(started(None), Some(vec!["less".to_owned()]));
        assert_eq!(started(Some("")), None);
        assert_eq!(started(Some(" cat ")), None);
        let named = ["sh", "-c", "most -w"].map(str::to_owned).to_vec();
        assert_eq!(started(Some("most -w")), Some(named));
    }
}
