//! The child process of `weir run`: its start, the signals that are passed on to it, and its exit status.

use std::io;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, kill_process};
use tokio::process::{ChildStderr, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use weir_error::ErrorKind;

use crate::failure::Failure;

/// A running program.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    signals: Signals,
}

/// The signals that are passed on to the program.
#[derive(Debug)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

impl Child {
    pub(super) fn spawn(command: &[String]) -> Result<Self, Failure> {
        // The handlers come before the program: a signal in between would otherwise end this process and leave the program.
        let signals = Signals::new().map_err(|error| Failure::io("signals cannot be handled", &error))?;
        let process = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::inherit())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| not_started(&command[0], &error))?;
        Ok(Self { process, signals })
    }

    /// Takes the pipes of the program's output.
    pub(super) fn take_output(&mut self) -> (ChildStdout, ChildStderr) {
        let stdout = self.process.stdout.take().expect("piped at the start, taken once");
        let stderr = self.process.stderr.take().expect("piped at the start, taken once");
        (stdout, stderr)
    }

    /// Waits for the end of the program and passes signals on to it. Returns its exit status as a shell does.
    pub(super) async fn wait(&mut self) -> Result<u8, Failure> {
        loop {
            // `None` once the program was waited for: its pid may be that of another process then.
            let pid = self
                .process
                .id()
                .and_then(|pid| i32::try_from(pid).ok())
                .and_then(Pid::from_raw);
            tokio::select! {
                status = self.process.wait() => {
                    return status.map(exit_code).map_err(|error| Failure::io("the program cannot be waited for", &error));
                }
                signal = self.signals.next() => {
                    if let Some(pid) = pid.filter(|_| !reached_it(signal)) {
                        // A failure means that the program has ended. The next turn returns its status.
                        kill_process(pid, signal).ok();
                    }
                }
            }
        }
    }
}

/// Whether the terminal has sent the signal to the program already. Ctrl-C and Ctrl-\ go to every process of the foreground group.
fn reached_it(signal: rustix::process::Signal) -> bool {
    let from_keyboard = signal == rustix::process::Signal::INT || signal == rustix::process::Signal::QUIT;
    from_keyboard && rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for the next signal for the program. Cancel safe.
    async fn next(&mut self) -> rustix::process::Signal {
        use rustix::process::Signal;
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
        }
    }
}

/// Returns the status as a shell does: the exit code, or 128 plus the number of the signal that ended the program.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}

fn not_started(program: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(ErrorKind::NotFound, format!("program `{program}`: not found"))
            .with_hint("give its path, or use `sh -c '…'` for shell syntax"),
        io::ErrorKind::PermissionDenied => {
            Failure::new(ErrorKind::Forbidden, format!("program `{program}`: may not be run"))
                .with_hint(format!("is it executable? `chmod +x {program}` makes it so"))
        }
        _ => Failure::io(format_args!("program `{program}`"), error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    /// The status is the exit code, or 128 plus the number of the signal.
    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }

    /// The status of a program that exits, and of one that is killed, is returned.
    #[tokio::test]
    async fn the_status_is_the_programs() {
        for (script, code) in [("exit 7", 7), ("kill -TERM $$", 143)] {
            let mut child = Child::spawn(&["sh".to_owned(), "-c".to_owned(), script.to_owned()]).expect("started");
            assert_eq!(child.wait().await.expect("waited"), code);
        }
    }

    /// A missing program is reported with a hint.
    #[tokio::test]
    async fn a_missing_program_is_explained() {
        let failure = Child::spawn(&["no-such-program".to_owned()]).expect_err("absent");
        assert_eq!(
            failure.to_string(),
            "error: program `no-such-program`: not found\nhint: give its path, or use `sh -c '…'` for shell syntax"
        );
    }
}
