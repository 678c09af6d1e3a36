//! The reasons for which a syslog agent cannot run.

use std::path::PathBuf;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_net::ServerError;
use weir_tls::TlsError;

/// The reason for which the agent cannot start, or has stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// The port, its certificates or its server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The CA certificates for drains, or the identity for the binding cache, cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another agent uses the state directory.
    #[error("state directory `{path}` is used by another agent")]
    InUse {
        /// The state directory.
        path: PathBuf,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::InUse { .. } => ErrorKind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::InUse { .. } => Some("stop the other one, or set `state_dir` to another directory".to_owned()),
        }
    }
}
