//! `routes.json`: the routes that were added by hand.

use weir_error::ErrorKind;
use weir_platform_route_registrar::files::RouteFile;

use crate::failure::Failure;
use crate::state::{Edited, StateDir};

/// The file, for one command. Others wait until it is dropped.
#[derive(Debug)]
pub(super) struct Store(Edited);

impl Store {
    /// Takes the file; waits for another command that has it.
    pub(super) fn take(state: &StateDir) -> Result<Self, Failure> {
        Edited::take(&state.routes()).map(Self)
    }

    pub(super) fn read(&self) -> Result<RouteFile, Failure> {
        self.0.read(|text| serde_json::from_str(text))
    }

    pub(super) fn write(&self, routes: &RouteFile) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(routes)
            .map_err(|error| Failure::new(ErrorKind::Internal, format!("routes: {error}")))?;
        self.0.write(&(text + "\n"))
    }
}
