//! The state directory of a stack: its files, and who may use it.
//!
//! ```text
//! .weir/
//!   lock                      held (flock) by the running `weir up`; its pid inside
//!   endpoints.json            the addresses of all components; exists while the stack serves
//!   ports.json                the last choice of `--ports auto`
//!   token                     the operator's token, 0600
//!   login.json                the tokens of the user who is logged in (`weir login`), 0600
//!   uaa/                      uaa.db; admin-password, client-secrets.json and master-key, 0600 each
//!   drains.json, drains.lock  the drains of `weir drain add` with their secrets, 0600; the lock is held during changes
//!   routes.json, routes.lock  the routes of `weir route add`, 0600; the lock is held during changes
//!   syslog-agent/             messages that wait for drains that are away, and the bindings from before a restart
//!   certs/                    ca.crt, ca.key, <component>.crt, <component>.key
//!   config/<component>.toml   written by `weir up` at each start
//!   ledger/<component>.json   numbers of received, sent and dropped envelopes
//!   logs/<component>.log      standard error of the components (`--processes`)
//!   *.broken-<time>           a file that could not be read at a start and was replaced by a new one
//! ```

pub(crate) mod edited;
mod endpoints;
mod lock;

use std::path::{Path, PathBuf};

pub(crate) use edited::Edited;
pub(crate) use endpoints::Endpoints;
pub(crate) use lock::Lock;

use crate::failure::Failure;

/// The paths of one stack. They are absolute, because they are written to files for readers in other working directories.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Returns the paths for a directory, which need not exist.
    pub(crate) fn at(directory: &Path) -> Result<Self, Failure> {
        let root = std::path::absolute(directory).map_err(|error| Failure::file(directory, &error))?;
        Ok(Self { root })
    }

    /// Creates the directory and its folders where they are missing.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        for directory in [
            &self.root,
            &self.certs(),
            &self.config(),
            &self.ledger(),
            &self.logs(),
            &self.uaa(),
        ] {
            weir_files::make_directory(directory).map_err(|error| Failure::file(directory, &error))?;
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn endpoints(&self) -> PathBuf {
        self.root.join("endpoints.json")
    }

    pub(crate) fn ports(&self) -> PathBuf {
        self.root.join("ports.json")
    }

    pub(crate) fn token(&self) -> PathBuf {
        self.root.join("token")
    }

    pub(crate) fn drains(&self) -> PathBuf {
        self.root.join("drains.json")
    }

    /// The routes that `weir route add` added.
    pub(crate) fn routes(&self) -> PathBuf {
        self.root.join(weir_platform_route_registrar::ROUTES_FILE)
    }

    /// The tokens of the user who is logged in.
    pub(crate) fn login(&self) -> PathBuf {
        self.root.join("login.json")
    }

    /// The directory of UAA: its database, and the secrets that it creates at its first start.
    pub(crate) fn uaa(&self) -> PathBuf {
        self.root.join("uaa")
    }

    pub(crate) fn admin_password(&self) -> PathBuf {
        self.uaa().join("admin-password")
    }

    pub(crate) fn client_secrets(&self) -> PathBuf {
        self.uaa().join("client-secrets.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn certs(&self) -> PathBuf {
        self.root.join("certs")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    pub(crate) fn config_of(&self, component: &str) -> PathBuf {
        self.config().join(format!("{component}.toml"))
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn log_of(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// Returns the flag that names this directory on a command line, with a leading space; nothing for the default.
    pub(crate) fn as_flag(&self) -> String {
        let default = std::path::absolute(".weir").ok();
        if default.as_deref() == Some(&self.root) {
            String::new()
        } else {
            format!(" --state-dir {}", shell_quoted(&self.root.display().to_string()))
        }
    }
}

/// Quotes a word for a shell.
pub(crate) fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A new directory gets all its folders, and only its owner may read it.
    #[test]
    fn folders_are_created_for_the_owner_only() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(&base.path().join("a/b")).expect("absolute");
        state.create().expect("created");
        state.create().expect("a second time");
        for folder in [state.certs(), state.config(), state.ledger(), state.logs(), state.uaa()] {
            assert!(folder.is_dir());
        }
        let mode = fs::metadata(state.root()).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    /// A hint with such a word can be pasted into a shell.
    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(shell_quoted("/tmp/x-1"), "/tmp/x-1");
        assert_eq!(shell_quoted("/tmp/a b's"), r"'/tmp/a b'\''s'");
    }
}
