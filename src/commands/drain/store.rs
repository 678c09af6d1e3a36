//! `drains.json`: the drains that `weir drain add` added. Only the owner can read it, it is replaced atomically, and a lock lets
//! one command at a time change it.

use weir_agents_binding_cache::statics::StaticDrains;

use crate::failure::Failure;
use crate::state::{Edited, StateDir, edited};

/// Exclusive access to the file. Other commands wait until it is dropped.
#[derive(Debug)]
pub(super) struct Store(Edited);

impl Store {
    /// Locks the file. Waits for another command that has locked it, which takes milliseconds.
    pub(super) fn take(state: &StateDir) -> Result<Self, Failure> {
        Edited::take(&state.drains()).map(Self)
    }

    pub(super) fn read(&self) -> Result<StaticDrains, Failure> {
        self.0.read(StaticDrains::parse)
    }

    pub(super) fn write(&self, drains: &StaticDrains) -> Result<(), Failure> {
        self.0.write(&drains.to_text())
    }
}

/// Reads the drains; none if there is no file.
pub(super) fn read(state: &StateDir) -> Result<StaticDrains, Failure> {
    edited::read(&state.drains(), StaticDrains::parse)
}

#[cfg(test)]
mod tests {
    use std::fs;
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
