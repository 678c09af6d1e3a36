//! Checks that need no running stack: the state directory, its secrets and certificates, the disk, the clock, and limits.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use weir_service::clock;
use weir_tls::{IdentityFiles, describe, describe_certificate};

use super::Finding;
use crate::state::{StateDir, shell_quoted};

/// The open files that a stack under load should be allowed.
const FILES_WANTED: u64 = 4096;
/// The open files that a stack needs.
const FILES_NEEDED: u64 = 256;
/// The free bytes on the disk that a stack should have.
const DISK_WANTED: u64 = 1 << 30;
/// The free bytes on the disk that a stack needs.
const DISK_NEEDED: u64 = 64 << 20;
/// The remaining time below which a certificate is odd. `weir up` renews certificates a month before they expire.
const EXPIRY_WARNING: Duration = Duration::from_hours(7 * 24);
/// 2025-01-01 in nanoseconds since 1970. A clock before that time was never set.
const PLAUSIBLE_NANOS: i64 = 1_735_689_600_000_000_000;
/// How far the time of a file may be ahead of the clock, as it happens on network file systems.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// Returns all findings, the most important first.
pub(super) fn findings(state: &StateDir) -> Vec<Finding> {
    let mut findings = vec![directory(state)];
    if state.root().is_dir() {
        findings.push(disk(state.root()));
        findings.extend(secrets(state));
        findings.extend(certificates(&state.certs()));
    }
    findings.push(time(state));
    findings.push(files());
    findings
}

fn directory(state: &StateDir) -> Finding {
    let root = state.root();
    let name = root.display();
    match fs::metadata(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::fine("directory", format!("`{name}` does not exist yet; `weir up` makes it"))
        }
        Err(error) => Finding::broken(
            "directory",
            format!("`{name}`: {error}"),
            "give access to it, or choose another by --state-dir",
        ),
        Ok(metadata) if !metadata.is_dir() => Finding::broken(
            "directory",
            format!("`{name}` is a file"),
            "choose another by --state-dir",
        ),
        Ok(metadata) => {
            // Permissions do not tell whether the file system is read-only or full, so a file is written.
            let probe = root.join(format!(".doctor.{}", std::process::id()));
            let written = fs::write(&probe, b"probe").and_then(|()| fs::remove_file(&probe));
            let others = metadata.permissions().mode() & 0o077;
            match written {
                Err(error) => Finding::broken(
                    "directory",
                    format!("`{name}` cannot be written: {error}"),
                    "make it yours, or choose another by --state-dir",
                ),
                Ok(()) if others != 0 => Finding::odd(
                    "directory",
                    format!("`{name}` can be entered by others"),
                    format!("chmod 700 {}", shell_quoted(&name.to_string())),
                ),
                Ok(()) => Finding::fine("directory", format!("`{name}`")),
            }
        }
    }
}

fn disk(root: &Path) -> Finding {
    let Ok(statistics) = rustix::fs::statvfs(root) else {
        return Finding::odd("disk", "free space cannot be told", "look with `df`");
    };
    // `f_bavail` leaves out the blocks that only root may use.
    let free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
    let text = format!("{:.1} GiB free", gibibytes(free));
    match free {
        0..DISK_NEEDED => Finding::broken("disk", text, "ledgers and logs cannot be written soon: make room"),
        DISK_NEEDED..DISK_WANTED => Finding::odd("disk", text, "make room"),
        _ => Finding::fine("disk", text),
    }
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Checks that only the owner can read tokens, passwords and private keys.
fn secrets(state: &StateDir) -> Vec<Finding> {
    let mut paths: Vec<PathBuf> = with_extension(&state.certs(), "key");
    paths.push(state.token());
    paths.extend([state.drains(), state.login(), state.endpoints()]);
    paths.extend([
        state.admin_password(),
        state.client_secrets(),
        state.uaa().join("master-key"),
    ]);
    let open: Vec<PathBuf> = paths
        .into_iter()
        .filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0))
        .collect();
    if open.is_empty() {
        return vec![Finding::fine(
            "secrets",
            "keys, tokens, passwords and drains are closed to others",
        )];
    }
    open.into_iter()
        .map(|path| {
            let quoted = shell_quoted(&path.display().to_string());
            Finding::broken(
                "secrets",
                format!("`{}` can be read by others", path.display()),
                format!("chmod 600 {quoted}"),
            )
        })
        .collect()
}

fn certificates(directory: &Path) -> Vec<Finding> {
    let ca = directory.join("ca.crt");
    let renew = "remove it and start `weir up` again, which makes a new one";
    if !ca.exists() {
        return vec![Finding::fine("certificates", "none yet; `weir up` makes them")];
    }
    let mut findings = Vec::new();
    let mut valid = 0;
    let mut first: Option<(SystemTime, String)> = None;
    for cert in with_extension(directory, "crt") {
        let described = if cert == ca {
            describe_certificate(&cert)
        } else {
            describe(&IdentityFiles {
                ca: ca.clone(),
                key: cert.with_extension("key"),
                cert: cert.clone(),
            })
        };
        match described {
            Err(error) => findings.push(Finding::broken("certificates", error.to_string(), renew)),
            Ok(status) if status.is_expired() => {
                findings.push(Finding::broken(
                    "certificates",
                    format!("`{}` expired on {}", cert.display(), status.last_day()),
                    renew,
                ));
            }
            Ok(status) => {
                if status.expires_in.is_some_and(|left| left < EXPIRY_WARNING) {
                    let text = format!("`{}` expires on {}", cert.display(), status.last_day());
                    findings.push(Finding::odd(
                        "certificates",
                        text,
                        "restart `weir up`: it renews what is about to expire",
                    ));
                }
                valid += 1;
                if first.as_ref().is_none_or(|(earliest, _)| status.not_after < *earliest) {
                    first = Some((status.not_after, status.last_day()));
                }
            }
        }
    }
    if let Some((_, day)) = first {
        findings.push(Finding::fine(
            "certificates",
            format!("{valid} are valid; the first one expires on {day}"),
        ));
    }
    findings
}

/// Checks the clock, because logs are ordered by time. A clock that was set back is behind the times of files.
fn time(state: &StateDir) -> Finding {
    let hint = "set it, and let NTP keep it";
    let now = clock::now_nanos();
    if now < PLAUSIBLE_NANOS {
        return Finding::broken("clock", "it was never set: it shows a time before 2025", hint);
    }
    let now = UNIX_EPOCH + Duration::from_nanos(u64::try_from(now).unwrap_or(0));
    let newest = [
        state.endpoints(),
        state.ledger(),
        state.token(),
        state.certs().join("ca.crt"),
    ]
    .iter()
    .filter_map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
    .max();
    match newest
        .and_then(|newest| newest.duration_since(now).ok())
        .filter(|ahead| *ahead > CLOCK_TOLERANCE)
    {
        Some(ahead) => Finding::broken(
            "clock",
            format!("it was set back: files here are {} s ahead of it", ahead.as_secs()),
            hint,
        ),
        None => Finding::fine("clock", "is plausible"),
    }
}

fn files() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    // Only the hard limit matters: `weir up` raises the soft limit to it.
    match hard {
        0..FILES_NEEDED => Finding::broken(
            "limits",
            format!("{hard} open files at most"),
            "raise it: `ulimit -Hn 65536` as root, or in limits.conf",
        ),
        FILES_NEEDED..FILES_WANTED => Finding::odd(
            "limits",
            format!("{hard} open files at most"),
            "enough for a few dozen consumers; raise it in limits.conf for more",
        ),
        u64::MAX => Finding::fine("limits", format!("{soft} open files, `weir up` may take more")),
        _ => Finding::fine("limits", format!("{soft} open files, `weir up` may take up to {hard}")),
    }
}

fn with_extension(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    /// A directory that does not exist yet is fine.
    #[test]
    fn a_new_directory_is_fine() {
        let state = StateDir::at(Path::new("/no/such/directory")).expect("absolute");
        assert_eq!(directory(&state).level, Level::Fine);
        assert!(findings(&state).iter().all(|finding| finding.level != Level::Broken));
    }

    /// A token that others can read is broken, and the hint has the command that protects it.
    #[test]
    fn an_open_token_is_found() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        state.create().expect("created");
        weir_files::replace(&state.token(), b"secret", weir_files::Readers::Owner).expect("written");
        assert_eq!(secrets(&state)[0].level, Level::Fine);
        fs::set_permissions(state.token(), fs::Permissions::from_mode(0o644)).expect("opened");
        let finding = &secrets(&state)[0];
        assert_eq!(finding.level, Level::Broken);
        assert!(
            finding
                .hint
                .as_deref()
                .is_some_and(|hint| hint.starts_with("chmod 600 "))
        );
    }

    /// Generated certificates are valid, and a damaged one is named.
    #[test]
    fn a_damaged_certificate_is_named() {
        let base = tempfile::tempdir().expect("temporary directory");
        let authority = weir_tls::Authority::open_or_create(base.path()).expect("made");
        let files = authority.issue("doppler", &[]).expect("issued");
        let found = certificates(base.path());
        assert_eq!(found.len(), 1);
        assert!(found[0].text.starts_with("2 are valid"), "{}", found[0].text);
        fs::write(&files.cert, "nonsense").expect("damaged");
        let found = certificates(base.path());
        assert_eq!(found[0].level, Level::Broken);
        assert!(found[0].text.contains("doppler.crt"), "{}", found[0].text);
    }
}
