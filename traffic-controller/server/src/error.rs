//! The reasons for which a traffic controller cannot run.

use thiserror::Error;
use weir_auth::OpenError;
use weir_error::{Classify, ErrorKind};
use weir_net::ServerError;
use weir_tls::TlsError;

/// The reason for which a traffic controller cannot start.
#[derive(Debug, Error)]
pub enum Error {
    /// A port or a server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
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
            Self::Server(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::Gate(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Gate(error) => error.hint(),
        }
    }
}
