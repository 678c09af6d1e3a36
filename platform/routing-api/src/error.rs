//! Why a routing API does not run.

use thiserror::Error;
use weir_auth::OpenError;
use weir_db::DbError;
use weir_error::{Classify, ErrorKind};
use weir_net::ServerError;
use weir_tls::TlsError;

/// Why a routing API cannot start, or stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// The port cannot be had.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Tokens cannot be checked.
    #[error(transparent)]
    Gate(#[from] OpenError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DbError),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::Gate(error) => error.kind(),
            Self::Database(error) => error.kind(),
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.retryable())
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Gate(error) => error.hint(),
            Self::Database(error) => error.hint(),
        }
    }
}
