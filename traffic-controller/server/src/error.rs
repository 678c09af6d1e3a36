//! The reasons for which a traffic controller cannot run.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use weir_auth::OpenError;
use weir_error::{Classify, ErrorKind};
use weir_tls::TlsError;

/// The reason for which a traffic controller cannot start.
#[derive(Debug, Error)]
pub enum Error {
    /// The address to listen on cannot be bound.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The certificates cannot be read or used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is neither a token file nor a UAA, so that nobody could be authorized.
    #[error(transparent)]
    Gate(#[from] OpenError),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { .. } => ErrorKind::Conflict,
            Self::Tls(error) => error.kind(),
            Self::Gate(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => Some("free the port, or set `listen` to another address".to_owned()),
            Self::Tls(error) => error.hint(),
            Self::Gate(error) => error.hint(),
        }
    }
}
