//! Broken state files: what can be begun anew is set aside, what others rely on is refused with a hint.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::stack::{Stack, command, directory, text};

/// What becomes of a state file that is broken when the stack starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// It is renamed to `NAME.broken-<time>`, a warning says so, and a new one is begun.
    SetAside,
    /// The stack does not start, and says what to do: the file holds a secret that others have, or their accounts.
    Refused,
    /// The stack starts and says that the file cannot be read; it stays for its owner to mend.
    Told,
    /// It is written anew at every start, whatever it held.
    Rewritten,
    /// It holds nothing that is read at a start.
    Unread,
    /// Nobody has said here what becomes of it.
    Unknown,
}

/// What is promised for the file at `path`, which is relative to the state directory.
fn promised(path: &Path) -> Broken {
    let path = path.to_str().expect("a text");
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match (folder, name) {
        ("ledger", _) | ("", "ports.json") | ("syslog-agent", "bindings.json") => Broken::SetAside,
        ("", "token") | ("certs", "ca.crt" | "ca.key") => Broken::Refused,
        ("uaa", "client-secrets.json" | "master-key" | "uaa.db") => Broken::Refused,
        ("routing-api", "routing-api.db") => Broken::Refused,
        ("", "drains.json" | "routes.json") => Broken::Told,
        ("config" | "certs", _) | ("", "lock" | "endpoints.json") => Broken::Rewritten,
        // The password is read where the user is not there yet; SQLite's own, the logs, the locks, and what this test's driver
        // writes.
        ("uaa", "admin-password" | "uaa.db-wal" | "uaa.db-shm") | ("logs", _) => Broken::Unread,
        ("routing-api", "routing-api.db-wal" | "routing-api.db-shm") => Broken::Unread,
        ("", "drains.lock" | "routes.lock" | "up.out" | "up.err") | ("syslog-agent", "syslog-agent.lock") => {
            Broken::Unread
        }
        _ => Broken::Unknown,
    }
}

/// Every file under `root`, relative to it.
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

/// Three ways in which a crash or a bad disk leaves a file.
fn damages(whole: &[u8]) -> [Vec<u8>; 3] {
    [Vec::new(), whole[..whole.len().min(12)].to_vec(), vec![0xa5; 4096]]
}

/// A stack has run and was stopped. Then every file that it left, one after the other, is emptied, cut off and overwritten:
/// the stack starts and names what it set aside, or refuses to start and says what to do about the file.
#[test]
fn no_state_file_is_in_the_way() {
    let base = directory();
    let root = base.path();
    let stack = Stack::start(root, &[]);
    stack.ok(&["drain", "add", "--source-id", "app", "syslog://127.0.0.1:9"]);
    stack.ok(&["route", "add", "app", "127.0.0.1:9", "--no-probe"]);
    let (status, said) = stack.stop();
    assert!(status.success(), "{said}");

    let state = files(root);
    let unknown: Vec<_> = state.iter().filter(|path| promised(path) == Broken::Unknown).collect();
    assert!(unknown.is_empty(), "say in `promised` what becomes of {unknown:?}");
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

    // Those that are no reason not to start are damaged together, one kind of damage for each start.
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
        for path in state.iter().filter(|path| promised(path) == Broken::Told) {
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
