//! A health check that is a script.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// Bytes of a script's standard error that are kept, from its beginning.
const KEPT: usize = 512;

/// The process group of a running script. Dropping it kills the script and everything that it started; a script that has
/// ended may have left something running, and gives its group up before.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Fails when all processes of the group have ended.
            kill_process_group(pid, Signal::KILL).ok();
        }
    }
}

/// Runs `command` in a shell, as the original does. Cancel safe: what runs is killed.
pub(super) async fn run(command: &str) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).process_group(0).kill_on_drop(true);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = shell.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let mut said = Vec::new();
    let status = match child.stderr.take() {
        None => child.wait().await,
        Some(mut stderr) => {
            let mut chunk = [0; 4096];
            let mut is_open = true;
            loop {
                // What a script leaves running may keep its standard error open, so its end is not waited for.
                tokio::select! {
                    biased;
                    read = stderr.read(&mut chunk), if is_open => match read {
                        Ok(length) if length > 0 => {
                            let wanted = length.min(KEPT.saturating_sub(said.len()));
                            said.extend_from_slice(&chunk[..wanted]);
                        }
                        _ => is_open = false,
                    },
                    status = child.wait() => break status,
                }
            }
        }
    };
    group.0 = None;
    let status = status.map_err(|error| format!("cannot be waited for: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(reason(status, &said)),
    }
}

fn reason(status: ExitStatus, said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    match said.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("{status}: {line}"),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_eventually::{eventually, until};

    use super::*;
    use crate::check::{Check, Probe};

    /// The exit status decides, and the first line of standard error says why.
    #[tokio::test]
    async fn the_exit_status_decides() {
        assert_eq!(run("exit 0").await, Ok(()));
        assert_eq!(run("exit 3").await, Err("exit status: 3".to_owned()));
        let loud = "echo; echo no disk >&2; exit 1";
        assert_eq!(run(loud).await, Err("exit status: 1: no disk".to_owned()));
        // More than a pipe holds.
        assert_eq!(run("head -c 1000000 /dev/zero >&2").await, Ok(()));
    }

    /// A script that takes too long is not healthy.
    #[tokio::test(start_paused = true)]
    async fn a_slow_script_is_not_healthy() {
        let check = Check {
            probe: Probe::Script("sleep 600".to_owned()),
            timeout: Duration::from_secs(10),
        };
        assert_eq!(check.run().await, Err("no answer within 10s".to_owned()));
    }

    /// A script whose answer is not wanted any more is killed, together with what it started.
    #[tokio::test]
    async fn an_abandoned_script_is_killed_with_its_children() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("pid");
        let command = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let pid = tokio::select! {
            ended = run(&command) => panic!("the script ended: {ended:?}"),
            pid = until("the script runs", async || std::fs::read_to_string(&file)) => pid.unwrap(),
        };
        // A process that waits to be reaped by init has ended.
        let has_ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        eventually("the child of the script has ended", has_ended).await;
    }
}
