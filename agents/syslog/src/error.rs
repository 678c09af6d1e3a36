//! Why a syslog agent does not run.

use std::path::PathBuf;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_tls::TlsError;

/// Why an agent cannot start, or stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// Its port, its certificates or its server.
    #[error(transparent)]
    Agent(#[from] weir_agents_lib::Error),
    /// The CAs of the drains, or the certificate towards the binding cache.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another agent uses the directory.
    #[error("state directory `{path}` is used by another agent")]
    InUse {
        /// Which one.
        path: PathBuf,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Agent(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::InUse { .. } => ErrorKind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Agent(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::InUse { .. } => Some("stop the other one, or set `state_dir` to another directory".to_owned()),
        }
    }
}
