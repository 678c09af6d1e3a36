//! The reasons for which an agent cannot run.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_net::ServeError;
use weir_tls::TlsError;

/// The reason for which an agent cannot start, or has stopped.
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
    /// The gRPC server failed while it ran.
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
