//! The ledger's file: what is in it, and how observers read it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Envelopes dropped at one hop for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// Where in the component.
    pub hop: String,
    /// Why; see [`Reason`].
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The ledger as it is on file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSnapshot {
    /// Whose it is.
    pub component: String,
    /// Envelopes that came in.
    pub received: u64,
    /// Envelopes that went out, counted once for each consumer.
    pub sent: u64,
    /// Consumers that are connected now.
    pub subscribers: i64,
    /// Consumers that a next start of the component may expect to come back.
    #[serde(default)]
    pub expected: i64,
    /// Consumers that store what they get, of those that are connected now.
    #[serde(default)]
    pub storing: i64,
    /// Envelopes that were stored: at a doppler, those that its storing consumers acknowledged; at a log cache, those that it
    /// took from dopplers.
    #[serde(default)]
    pub stored: u64,
    /// Envelopes handed over to a neighbour that has not acknowledged them yet.
    pub in_flight: i64,
    /// What was lost.
    pub dropped: Vec<DropCount>,
}

impl LedgerSnapshot {
    /// All drops together.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|drop| drop.count).sum()
    }

    /// Reads the ledger file of `component` under `dir`; `None` if there is none yet. For observers: a broken file is an
    /// error here, and stays for the component to set aside.
    pub fn read(dir: &Path, component: &str) -> io::Result<Option<Self>> {
        match std::fs::read(path(dir, component)) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where the ledger of `component` lies under `dir`.
pub(super) fn path(dir: &Path, component: &str) -> PathBuf {
    dir.join(format!("{component}.json"))
}
