//! `drains.json`: the drains that `weir drain add` added. Only the owner can read it, it is replaced atomically, and a lock lets one
//! command at a time change it.

use std::fs::{self, File};
use std::io;

use weir_agents_binding_cache::statics::StaticDrains;
use weir_error::ErrorKind;
use weir_files::Readers;

use crate::failure::Failure;
use crate::state::StateDir;

/// Exclusive access to the file. Other commands wait until it is dropped.
#[derive(Debug)]
pub(super) struct Store<'s> {
    state: &'s StateDir,
    /// The locked file. Closing it frees the lock.
    _lock: File,
}

impl<'s> Store<'s> {
    /// Locks the file. Waits for another command that has locked it, which takes milliseconds.
    pub(super) fn take(state: &'s StateDir) -> Result<Self, Failure> {
        // A file of its own: `drains.json` is replaced, and a lock on the old file would exclude nobody.
        let path = state.drains().with_extension("lock");
        let lock = weir_files::lock(&path).map_err(|error| Failure::file(&path, &error))?;
        Ok(Self { state, _lock: lock })
    }

    pub(super) fn read(&self) -> Result<StaticDrains, Failure> {
        read(self.state)
    }

    pub(super) fn write(&self, drains: &StaticDrains) -> Result<(), Failure> {
        let path = self.state.drains();
        let written = weir_files::replace(&path, drains.to_text().as_bytes(), Readers::Owner);
        written.map_err(|error| Failure::file(&path, &error))
    }
}

/// Reads the drains; none if there is no file.
pub(super) fn read(state: &StateDir) -> Result<StaticDrains, Failure> {
    let path = state.drains();
    match fs::read_to_string(&path) {
        Ok(text) => StaticDrains::parse(&text).map_err(|error| {
            Failure::new(ErrorKind::InvalidInput, format!("`{}`: {error}", path.display()))
                .with_hint("mend it by hand, or remove it and add the drains again")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(StaticDrains::default()),
        Err(error) => Err(Failure::file(&path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use weir_agents_binding_cache::statics::StaticDrain;

    use super::*;

    /// Drains are read back, only the owner can read the file, and errors do not show its content.
    #[test]
    fn drains_are_kept_closed() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        assert!(read(&state).expect("no file").drains.is_empty());
        let drain = StaticDrain {
            source_id: "web".to_owned(),
            hostname: String::new(),
            url: "https://u:hunter2@h".to_owned(),
            cert: String::new(),
            key: String::new(),
            ca: String::new(),
        };
        let drains = StaticDrains { drains: vec![drain] };
        let store = Store::take(&state).expect("taken");
        store.write(&drains).expect("written");
        assert_eq!(store.read().expect("read"), drains);
        drop(store);
        let mode = fs::metadata(state.drains()).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(state.drains(), "hunter2").expect("damaged");
        let text = Store::take(&state)
            .expect("taken")
            .read()
            .expect_err("damaged")
            .to_string();
        assert!(text.contains("drains.json") && !text.contains("hunter2"), "{text}");
    }
}
