//! The contents of a ledger's file, and how observers read it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The number of envelopes dropped at one hop for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// The hop within the component.
    pub hop: String,
    /// The name of the reason; see [`Reason`](crate::Reason).
    pub reason: String,
    /// The number of dropped envelopes.
    pub count: u64,
}

/// The counts of a ledger, as they are on file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSnapshot {
    /// The name of the component.
    pub component: String,
    /// The number of received envelopes.
    pub received: u64,
    /// The number of sent envelopes, counted once for each consumer.
    pub sent: u64,
    /// The number of connected consumers.
    pub subscribers: i64,
    /// The number of consumers that the next start of the component may expect to reconnect.
    #[serde(default)]
    pub expected: i64,
    /// The number of connected consumers that store envelopes.
    #[serde(default)]
    pub storing: i64,
    /// The number of stored envelopes: at a doppler, those that its storing consumers acknowledged; at a log cache,
    /// those that it received from dopplers.
    #[serde(default)]
    pub stored: u64,
    /// The number of envelopes that were sent to the next hop and not acknowledged yet.
    pub in_flight: i64,
    /// The dropped envelopes, by hop and reason.
    pub dropped: Vec<DropCount>,
}

impl LedgerSnapshot {
    /// The number of all dropped envelopes.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|drop| drop.count).sum()
    }

    /// Reads the ledger file of `component` in `dir`, for observers; `None` if there is none yet.
    ///
    /// # Errors
    /// If the file cannot be read or is broken. A broken file is left for the component to set aside.
    pub fn read(dir: &Path, component: &str) -> io::Result<Option<Self>> {
        match std::fs::read(path(dir, component)) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns the path of the ledger file of `component` in `dir`.
pub(super) fn path(dir: &Path, component: &str) -> PathBuf {
    dir.join(format!("{component}.json"))
}
