//! Broken state files: a replaceable file is set aside; for a file with secrets or accounts, the start is refused with a hint.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::stack::{Stack, command, directory, text};

/// The treatment of a state file that is broken when the stack starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// The file is renamed to `NAME.broken-<time>` with a warning, and a new one is begun.
    SetAside,
    /// The stack does not start and gives a hint, because the file has accounts, or a secret that others rely on.
    Refused,
    /// The stack starts and reports that the file cannot be read. The file is left for its owner to repair.
    Reported,
    /// The file is replaced at every start.
    Rewritten,
    /// The file is not read at a start.
    Unread,
    /// The file is missing in [`promised`].
    Unknown,
}

/// Returns the documented treatment of a file. `path` is relative to the state directory.
fn promised(path: &Path) -> Broken {
    let path = path.to_str().expect("a text");
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match (folder, name) {
        ("ledger", _) | ("", "ports.json") | ("syslog-agent", "bindings.json") => Broken::SetAside,
        ("", "token") | ("certs", "ca.crt" | "ca.key") => Broken::Refused,
        ("uaa", "client-secrets.json" | "master-key" | "uaa.db") => Broken::Refused,
        ("routing-api", "routing-api.db") => Broken::Refused,
        ("", "drains.json" | "routes.json") => Broken::Reported,
        ("config" | "certs", _) | ("", "lock" | "endpoints.json") => Broken::Rewritten,
        // The password is read only while the user does not exist. The others are files of SQLite, logs, locks, and the output
        // files of this test.
        ("uaa", "admin-password" | "uaa.db-wal" | "uaa.db-shm") | ("logs", _) => Broken::Unread,
        ("routing-api", "routing-api.db-wal" | "routing-api.db-shm") => Broken::Unread,
        ("", "drains.lock" | "routes.lock" | "up.out" | "up.err") | ("syslog-agent", "syslog-agent.lock") => {
            Broken::Unread
        }
        _ => Broken::Unknown,
    }
}

/// Lists the files under `root`, relative to it.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).expect("below").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Returns three damaged forms of a file, as a crash or a failing disk leaves it: empty, cut off, overwritten.
fn damages(whole: &[u8]) -> [Vec<u8>; 3] {
    [Vec::new(), whole[..whole.len().min(12)].to_vec(), vec![0xa5; 4096]]
}

/// Setup: the state directory of a stopped stack, in which each file is emptied, cut off and overwritten. Must hold: the stack
/// starts and names the files that it set aside, or it refuses to start with a hint on the file.
#[test]
fn broken_state_files_are_replaced_or_explained() {
    let base = directory();
    let root = base.path();
    let stack = Stack::start(root, &[]);
    stack.ok(&["drain", "add", "--source-id", "app", "syslog://127.0.0.1:9"]);
    stack.ok(&["route", "add", "app", "127.0.0.1:9", "--no-probe"]);
    let (status, said) = stack.stop();
    assert!(status.success(), "{said}");

    let state = files(root);
    let unknown: Vec<_> = state.iter().filter(|path| promised(path) == Broken::Unknown).collect();
    assert!(unknown.is_empty(), "add to `promised`: {unknown:?}");
    let ledgers = state.iter().filter(|path| path.starts_with("ledger")).count();
    assert!(ledgers >= 17, "{state:?}");

    for path in state.iter().filter(|path| promised(path) == Broken::Refused) {
        let whole = fs::read(root.join(path)).expect("read");
        for damaged in damages(&whole) {
            fs::write(root.join(path), &damaged).expect("damaged");
            let up = command(root).args(["up", "--ports", "auto"]).output().expect("runs");
            let said = text(&up);
            let named = said.contains(path.file_name().and_then(|name| name.to_str()).expect("a name"));
            let context = format!("{} of {} bytes: {said}", path.display(), damaged.len());
            assert!(!up.status.success() && named && said.contains("hint: "), "{context}");
            assert_eq!(
                fs::read(root.join(path)).expect("read"),
                damaged,
                "it was touched: {context}"
            );
        }
        fs::write(root.join(path), whole).expect("mended");
    }

    // The stack starts in spite of the other files. They are damaged together, in one way for each start.
    let harmless = |path: &&PathBuf| !matches!(promised(path), Broken::Refused | Broken::Unread);
    let mut set_aside = 0;
    for damage in 0..3 {
        for path in state.iter().filter(harmless) {
            let whole = fs::read(root.join(path)).unwrap_or_default();
            let [empty, cut, garbage] = damages(&whole);
            let damaged = [empty, cut, garbage].into_iter().nth(damage).expect("three");
            fs::write(root.join(path), damaged).expect("damaged");
        }
        let stack = Stack::start(root, &[]);
        let (status, said) = stack.stop();
        assert!(status.success(), "{said}");
        for path in state.iter().filter(|path| promised(path) == Broken::SetAside) {
            let kept_as = format!("{}.broken-", root.join(path).display());
            assert!(
                said.contains(&kept_as),
                "nothing is said about {}: {said}",
                path.display()
            );
            set_aside += 1;
        }
        for path in state.iter().filter(|path| promised(path) == Broken::Reported) {
            let name = root.join(path).display().to_string();
            assert!(said.contains(&name), "nothing is said about {name}: {said}");
        }
    }
    let kept: BTreeSet<PathBuf> = files(root)
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(".broken-"))
        .collect();
    assert_eq!(kept.len(), set_aside, "{kept:?}");
}
