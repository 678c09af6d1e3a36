//! The errors of the syslog server.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_tls::TlsError;

/// The reason why a syslog server cannot start.
#[derive(Debug, Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { .. } => ErrorKind::Conflict,
            Self::Tls(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => Some("free the port, or set `listen` to another address".to_owned()),
            Self::Tls(error) => error.hint(),
        }
    }
}
