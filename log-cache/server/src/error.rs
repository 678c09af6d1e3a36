//! The errors of the log cache.

use std::io;

use thiserror::Error;
use weir_auth::OpenError;
use weir_error::{Classify, ErrorKind};
#[cfg(feature = "sql")]
use weir_log_cache_query::QueryError;
use weir_net::ServerError;
use weir_tls::TlsError;

/// The reason why a log cache cannot start, or stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// A port or a server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authorizer cannot be opened, so no caller could be admitted.
    #[error(transparent)]
    Gate(#[from] OpenError),
    /// The query engine cannot be started.
    #[cfg(feature = "sql")]
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::Gate(error) => error.kind(),
            #[cfg(feature = "sql")]
            Self::Query(error) => error.kind(),
            Self::Thread(_) => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Gate(error) => error.hint(),
            #[cfg(feature = "sql")]
            Self::Query(error) => error.hint(),
            Self::Thread(_) => Some("raise the limit of threads (`ulimit -u`)".to_owned()),
        }
    }
}
