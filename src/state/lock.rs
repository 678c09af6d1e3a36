//! One `weir up` per state directory: an advisory lock (`flock`) on `DIR/lock`. The kernel frees it when its holder ends, also
//! by SIGKILL, so a killed stack never blocks the next. The pid in the file is only for messages.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use weir_error::ErrorKind;

use super::StateDir;
use crate::failure::Failure;

/// The number of tries to take the lock.
const TRIES: u32 = 10;
/// The time between two tries. All tries together take 0.2 s: [`Lock::holder`] holds the lock for much less.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The lock on a state directory, which a running stack holds.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Closing it frees the lock.
    _file: File,
}

impl Lock {
    /// Takes the lock. Fails with the pid of the holder if a stack holds it. Tries several times, because [`Lock::holder`] in
    /// another command takes the lock for a moment to test it.
    pub(crate) async fn acquire(state: &StateDir) -> Result<Self, Failure> {
        let path = state.lock();
        let failed = |error: std::io::Error| Failure::file(&path, &error);
        let mut tries = TRIES;
        let mut file = loop {
            tries -= 1;
            match weir_files::try_lock(&path).map_err(failed)? {
                Some(file) => break file,
                None if tries > 0 => tokio::time::sleep(BETWEEN_TRIES).await,
                None => return Err(in_use(state)),
            }
        };
        // Only now, as the holder: the file has the pid of the last stack until then.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// Returns the pid of the process that holds the lock, if there is one; 0 if it has not written its pid yet.
    pub(crate) fn holder(state: &StateDir) -> Option<u32> {
        weir_files::is_locked(&state.lock()).then(|| written_pid(state))
    }
}

fn written_pid(state: &StateDir) -> u32 {
    fs::read_to_string(state.lock())
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

fn in_use(state: &StateDir) -> Failure {
    let pid = written_pid(state);
    Failure::new(
        ErrorKind::Conflict,
        format!(
            "state directory `{}`: in use by a running stack (process {pid})",
            state.root().display()
        ),
    )
    .with_hint(format!(
        "stop it with `kill {pid}`, or start a second one with `weir --state-dir OTHER up --ports auto`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second holder is refused with the pid of the first. After the first has ended, the lock is free, though the file still
    /// has a pid.
    #[tokio::test]
    async fn only_one_holds_a_directory() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        assert_eq!(Lock::holder(&state), None);

        let first = Lock::acquire(&state).await.expect("free");
        let refused = Lock::acquire(&state).await.expect_err("held");
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(
            refused.to_string().contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        assert_eq!(Lock::holder(&state), Some(std::process::id()));

        drop(first);
        assert_eq!(Lock::holder(&state), None);
        Lock::acquire(&state).await.expect("free again");
    }
}
