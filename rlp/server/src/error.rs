//! Why an RLP does not run.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_net::ServeError;
use weir_tls::TlsError;

/// Why an RLP cannot start, or stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { .. } => ErrorKind::Conflict,
            Self::Tls(error) => error.kind(),
            Self::Serve(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => Some("free the port, or set `listen` to another address".to_owned()),
            Self::Tls(error) => error.hint(),
            Self::Serve(error) => error.hint(),
        }
    }
}
