//! Components as separate processes: started, watched, restarted with growing delays when they die, stopped in order.
//!
//! The standard input of a child is a pipe whose other end only this process holds. When this process ends, even by SIGKILL,
//! the child reads end of file and stops in order ([`crate::commands::component`]), so no child outlives its stack. Each child
//! has its own process group, so that a Ctrl-C in the terminal reaches only this process, which stops the children in order.

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

/// The time between the death of a child and its next start; it doubles at each death.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The greatest time between the death of a child and its next start.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// How long a child must live for the next delay to be the first one again.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// How long a child may take to stop before it is killed: longer than the 30 s in which a component may drain.
const STOP_DEADLINE: Duration = Duration::from_secs(40);
/// The number of bytes of the log that are searched for the error of a child that died.
const LOG_TAIL: u64 = 2000;

/// The command line of a child process.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) component: &'static str,
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<std::ffi::OsString>,
    /// The file to which standard output and standard error are appended. The component itself bounds its size.
    pub(crate) log: PathBuf,
}

/// An event of a child.
#[derive(Debug)]
pub(crate) enum ProcessEvent {
    Started {
        component: &'static str,
        pid: u32,
    },
    Died {
        component: &'static str,
        how: String,
        again_in: Duration,
    },
    /// The child did not stop cleanly.
    Trouble {
        component: &'static str,
        what: String,
    },
}

/// Keeps one child running until `stop`, and returns when it has ended. Reports on `events`, a bounded channel whose reader is
/// the foreground of `weir up`.
pub(crate) async fn supervise(program: Program, stop: Shutdown, events: mpsc::Sender<ProcessEvent>) {
    let component = program.component;
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    while !stop.is_requested() {
        let started = clock::instant();
        let how = match program.spawn() {
            Ok(mut child) => {
                // Taken out of `child`, because `wait` closes it, which would tell the child that this process has ended.
                let _alive = child.stdin.take();
                report(
                    &events,
                    ProcessEvent::Started {
                        component,
                        pid: child.id().unwrap_or(0),
                    },
                )
                .await;
                match stop.unless_requested(child.wait()).await {
                    Some(status) => status.map_or_else(|error| error.to_string(), describe),
                    None => {
                        if let Err(what) = end(&mut child).await {
                            report(&events, ProcessEvent::Trouble { component, what }).await;
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
        report(
            &events,
            ProcessEvent::Died {
                component,
                how,
                again_in,
            },
        )
        .await;
        // The condition of the loop sees whether the delay is over or a stop was requested.
        stop.unless_requested(tokio::time::sleep(again_in)).await;
    }
}

/// Reports an event. After the foreground has ended, the event is dropped.
async fn report(events: &mpsc::Sender<ProcessEvent>, event: ProcessEvent) {
    drop(events.send(event).await);
}

impl Program {
    /// Starts the program.
    fn spawn(&self) -> Result<Child, Failure> {
        let log = set_full_log_aside(&self.log)
            .and_then(|()| File::options().create(true).append(true).open(&self.log))
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| Failure::file(&self.log, &error))?;
        Command::new(&self.executable)
            // Lists of processes would otherwise show the path, which may be `/proc/self/exe`.
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

    /// Returns the end of the log, which may have the error of a child that died.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_default()
    }
}

/// Asks a child to stop by SIGTERM, and kills it after [`STOP_DEADLINE`].
async fn end(child: &mut Child) -> Result<(), String> {
    let Some(pid) = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
    else {
        return Ok(());
    };
    // Fails only if the child has died meanwhile, which `wait` reports.
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

/// Describes an exit status.
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

/// Returns the path of this executable, which stays valid on Linux if the file was replaced or removed meanwhile.
pub(crate) fn this_executable() -> Result<PathBuf, Failure> {
    let own = Path::new("/proc/self/exe");
    if own.exists() {
        return Ok(own.to_owned());
    }
    std::env::current_exe().map_err(|error| Failure::io("the path of this program", &error))
}

/// Returns the failure for a child that died before it served, with the error from its log if there is one.
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

    /// Supervises `program`. Returns the trigger that stops it, its events and the task.
    fn start(program: Program) -> (Trigger, mpsc::Receiver<ProcessEvent>, tokio::task::JoinHandle<()>) {
        let (trigger, stop) = Shutdown::new();
        let (sender, events) = mpsc::channel(16);
        let task = tokio::spawn(supervise(program, stop, sender));
        (trigger, events, task)
    }

    /// A child that dies is restarted, and both are reported. After a stop it has ended.
    #[tokio::test]
    async fn a_dead_child_is_restarted() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (trigger, mut events, task) = start(shell("echo 'error: broken' >&2; exit 3", directory.path()));
        for _ in 0..2 {
            assert!(matches!(
                events.recv().await,
                Some(ProcessEvent::Started { pid: 1.., .. })
            ));
            match events.recv().await {
                Some(ProcessEvent::Died { how, .. }) => assert_eq!(how, "exited with code 3"),
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
        let (trigger, mut events, task) = start(program.clone());
        assert!(matches!(events.recv().await, Some(ProcessEvent::Started { .. })));
        while program.log_tail() != "ready" {
            tokio::task::yield_now().await;
        }
        trigger.fire();
        task.await.expect("ends");
        assert_eq!(program.log_tail(), "ready\ndrained");
        assert!(events.recv().await.is_none(), "no trouble");
    }

    /// A program that does not exist is reported as a death, and tried again.
    #[tokio::test]
    async fn a_missing_program_is_reported() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let program = Program {
            executable: "/nowhere/weir".into(),
            ..shell("", directory.path())
        };
        let (trigger, mut events, task) = start(program);
        match events.recv().await {
            Some(ProcessEvent::Died { how, .. }) => assert!(how.contains("/nowhere/weir"), "{how}"),
            other => panic!("{other:?}"),
        }
        trigger.fire();
        task.await.expect("ends");
    }
}
