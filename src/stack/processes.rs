//! Components as processes of their own: started, watched, restarted with growing delays when they die, stopped in order.
//!
//! A child's standard input is a pipe whose other end only this process holds: when we end, however that happens, the
//! child reads its end and stops in order ([`crate::commands::component`]), so no child outlives its stack. Children are in
//! process groups of their own: a Ctrl-C meant for us does not reach them all at the same time.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use weir_error::ErrorKind;
use weir_net::Backoff;
use weir_service::{Shutdown, clock};
use weir_telemetry::set_full_log_aside;

use crate::failure::Failure;

/// Between the death of a child and its next start.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A child that lived this long starts over with the first delay.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// A child that has not stopped by itself after this is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(40);
/// Of the log of a child that died at once, this much is shown.
const LOG_TAIL: u64 = 2000;

/// What a child process runs.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) component: &'static str,
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<std::ffi::OsString>,
    /// Takes its standard output and standard error, appended; the component itself keeps it within a bound.
    pub(crate) log: PathBuf,
}

/// What happened to a child.
#[derive(Debug)]
pub(crate) enum Happening {
    Started {
        component: &'static str,
        pid: u32,
    },
    Died {
        component: &'static str,
        how: String,
        again_in: Duration,
    },
    /// It did not stop when told.
    Trouble {
        component: &'static str,
        what: String,
    },
}

/// Keeps one child running until `stop`; returns when it is gone. What happens is told on `happenings`, a bounded channel
/// whose reader is the foreground of `weir up`.
pub(crate) async fn supervise(program: Program, stop: Shutdown, happenings: mpsc::Sender<Happening>) {
    let component = program.component;
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    while !stop.is_requested() {
        let started = clock::instant();
        let how = match program.spawn() {
            Ok(mut child) => {
                // Waiting closes a child's standard input, which would tell it that we are gone.
                let _alive = child.stdin.take();
                tell(
                    &happenings,
                    Happening::Started {
                        component,
                        pid: child.id().unwrap_or(0),
                    },
                )
                .await;
                match stop.unless_requested(child.wait()).await {
                    Some(status) => status.map_or_else(|error| error.to_string(), describe),
                    None => {
                        if let Err(what) = end(&mut child).await {
                            tell(&happenings, Happening::Trouble { component, what }).await;
                        }
                        return;
                    }
                }
            }
            Err(failure) => format!("was not started: {}", failure.message()),
        };
        if clock::instant().duration_since(started) > STABLE_AFTER {
            backoff.reset();
        }
        let again_in = backoff.next_delay();
        tell(
            &happenings,
            Happening::Died {
                component,
                how,
                again_in,
            },
        )
        .await;
        // Either the time is up or somebody wants us to stop, which the loop sees.
        stop.unless_requested(tokio::time::sleep(again_in)).await;
    }
}

/// Nobody listens any more at the very end: then there is nobody to tell.
async fn tell(happenings: &mpsc::Sender<Happening>, happening: Happening) {
    drop(happenings.send(happening).await);
}

impl Program {
    /// Starts the program.
    fn spawn(&self) -> Result<Child, Failure> {
        let log = set_full_log_aside(&self.log)
            .and_then(|()| File::options().create(true).append(true).open(&self.log))
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| Failure::file(&self.log, &error))?;
        Command::new(&self.executable)
            .arg0("weir")
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(log.0)
            .stderr(log.1)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::file(&self.executable, &error))
    }

    /// The end of the log, for the one who wonders why a child died.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_default()
    }
}

/// Asks a child to stop, and makes it when it does not.
async fn end(child: &mut Child) -> Result<(), String> {
    let Some(pid) = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
    else {
        return Ok(());
    };
    // Where that fails it died meanwhile and needs no signal.
    kill_process(pid, Signal::TERM).ok();
    match tokio::time::timeout(STOP_DEADLINE, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("did not stop cleanly: {}", describe(status))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            drop(child.kill().await);
            Err(format!(
                "did not stop within {} s and was killed",
                STOP_DEADLINE.as_secs()
            ))
        }
    }
}

/// How a process ended, for reading.
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The program that runs a component: this executable again, even if its file was replaced or removed meanwhile.
pub(crate) fn this_executable() -> Result<PathBuf, Failure> {
    let own = Path::new("/proc/self/exe");
    if own.exists() {
        return Ok(own.to_owned());
    }
    std::env::current_exe().map_err(|error| Failure::io("the path of this program", &error))
}

/// A child died before it served.
pub(crate) fn died_early(program: &Program, how: &str) -> Failure {
    let log = program.log_tail();
    let message = match log.lines().rev().find(|line| line.starts_with("error: ")) {
        Some(line) => format!("{} {how}: {}", program.component, line.trim_start_matches("error: ")),
        None => format!("{} {how}", program.component),
    };
    Failure::new(ErrorKind::Unavailable, message).with_hint(format!("its log is `{}`", program.log.display()))
}

#[cfg(test)]
mod tests {
    use weir_service::Trigger;

    use super::*;

    fn shell(script: &str, directory: &Path) -> Program {
        Program {
            component: "doppler",
            executable: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            log: directory.join("doppler.log"),
        }
    }

    /// Supervises `program`; gives the trigger that stops it and what happens.
    fn start(program: Program) -> (Trigger, mpsc::Receiver<Happening>, tokio::task::JoinHandle<()>) {
        let (trigger, stop) = Shutdown::new();
        let (sender, happenings) = mpsc::channel(16);
        let task = tokio::spawn(supervise(program, stop, sender));
        (trigger, happenings, task)
    }

    /// A child that dies is started again, and everybody hears of both; told to stop, it is gone.
    #[tokio::test]
    async fn a_dead_child_is_started_again() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (trigger, mut happenings, task) = start(shell("echo 'error: broken' >&2; exit 3", directory.path()));
        for _ in 0..2 {
            assert!(matches!(
                happenings.recv().await,
                Some(Happening::Started { pid: 1.., .. })
            ));
            match happenings.recv().await {
                Some(Happening::Died { how, .. }) => assert_eq!(how, "exited with code 3"),
                other => panic!("{other:?}"),
            }
        }
        trigger.fire();
        task.await.expect("ends");
        let failure = died_early(&shell("", directory.path()), "exited with code 3").to_string();
        assert!(
            failure.starts_with("error: doppler exited with code 3: broken\nhint: its log is `"),
            "{failure}"
        );
    }

    /// A child is asked to stop by SIGTERM, and waited for.
    #[tokio::test]
    async fn a_child_is_asked_to_stop() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let script = "trap 'echo drained; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
        let program = shell(script, directory.path());
        let (trigger, mut happenings, task) = start(program.clone());
        assert!(matches!(happenings.recv().await, Some(Happening::Started { .. })));
        while program.log_tail() != "ready" {
            tokio::task::yield_now().await;
        }
        trigger.fire();
        task.await.expect("ends");
        assert_eq!(program.log_tail(), "ready\ndrained");
        assert!(happenings.recv().await.is_none(), "no trouble");
    }

    /// A program that does not exist is said so, and tried again like one that died.
    #[tokio::test]
    async fn a_missing_program_is_said() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let program = Program {
            executable: "/nowhere/weir".into(),
            ..shell("", directory.path())
        };
        let (trigger, mut happenings, task) = start(program);
        match happenings.recv().await {
            Some(Happening::Died { how, .. }) => assert!(how.contains("/nowhere/weir"), "{how}"),
            other => panic!("{other:?}"),
        }
        trigger.fire();
        task.await.expect("ends");
    }
}
