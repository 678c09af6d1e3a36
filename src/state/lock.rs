//! One `weir up` per state directory: an advisory lock on `DIR/lock`, which the kernel frees however its holder ends, so a
//! killed stack never blocks the next. The pid inside is for people.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use weir_error::ErrorKind;

use super::StateDir;
use crate::failure::Failure;

const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Held while a stack runs.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Closing it frees the lock.
    _file: File,
}

impl Lock {
    /// Takes the directory, or says who has it. Tries for a moment: [`Lock::holder`] of another command holds it for an
    /// instant as well.
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
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// The pid of the process that holds the directory, if one does. (0: it holds the lock and has not written its pid yet.)
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

    /// A second holder is refused with the first one's pid; after the first is gone the directory is free, whatever the file
    /// says.
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
