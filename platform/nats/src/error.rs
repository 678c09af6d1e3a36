//! Why the server does not start.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_net::ServerError;
use weir_tls::TlsError;

/// Why the server does not start.
#[derive(Debug, Error)]
pub enum Error {
    /// The port cannot be opened.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file with the password cannot be read.
    #[error("password file `{}` cannot be read", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// The answer of the system.
        source: io::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::Password { .. } => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Password { .. } => Some("check the path, and that this user may read the file".to_owned()),
        }
    }
}
