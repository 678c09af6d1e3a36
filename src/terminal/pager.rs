//! The pager of a terminal: where an answer is longer than the screen, it is read page by page in `less`, or in what
//! `$PAGER` names.
//!
//! As in git, `$PAGER` is a command of the shell, an empty one or `cat` means none, and `less` is told by `LESS` to leave by
//! itself where everything fits on the screen (`F`), to let colours through (`R`) and to leave its text on the screen (`X`).

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use tokio::signal::unix::{SignalKind, signal};
use weir_error::ErrorKind;

use crate::failure::Failure;

/// The exit status of a shell that does not find the program.
const NOT_FOUND: i32 = 127;

/// A pager that runs, and reads what is written to it.
#[derive(Debug)]
pub(crate) struct Pager {
    child: Child,
    /// Taken when everything is written.
    input: Option<ChildStdin>,
    command: Option<String>,
}

impl Pager {
    /// Starts the pager of this user, if there is one. From then on an interrupt (Ctrl-C) is the pager's: the command waits
    /// until its reader leaves.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn start() -> Option<Self> {
        let wanted = std::env::var("PAGER").ok();
        let mut command = command(wanted.as_deref())?;
        let mut child = command.stdin(Stdio::piped()).spawn().ok()?;
        // It stays installed after it was dropped; without one, an interrupt would end the command under the pager.
        drop(signal(SignalKind::interrupt()));
        Some(Self {
            input: child.stdin.take(),
            child,
            command: wanted,
        })
    }

    /// Ends the text and waits until its reader leaves.
    ///
    /// # Errors
    /// If there is no such program.
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

/// How to start the pager that the environment names, if it names one.
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

    /// `less` unless the user named something else; nothing and `cat` are no pager.
    #[test]
    fn the_environment_names_the_pager() {
        assert_eq!(started(None), Some(vec!["less".to_owned()]));
        assert_eq!(started(Some("")), None);
        assert_eq!(started(Some(" cat ")), None);
        let named = ["sh", "-c", "most -w"].map(str::to_owned).to_vec();
        assert_eq!(started(Some("most -w")), Some(named));
    }
}
