//! Why a client of NATS cannot start, or cannot do what it was asked for.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_tls::TlsError;

/// A failure of the client of NATS.
#[derive(Debug, Error)]
pub enum NatsError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file with the password cannot be read.
    #[error("password file `{}` of NATS cannot be read", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// The answer of the system.
        source: io::Error,
    },
    /// An address of a server cannot be used.
    #[error("NATS server `{server}`: {reason}")]
    Server {
        /// The address.
        server: String,
        /// The reason why it cannot be used.
        reason: String,
    },
    /// There is no connection now. Nothing was sent and nothing is queued.
    #[error("no connection to NATS")]
    Disconnected,
    /// The subject or the message cannot be sent.
    #[error("message to `{subject}` cannot be sent: {reason}")]
    Unsendable {
        /// The subject.
        subject: String,
        /// The reason why it cannot be sent.
        reason: String,
    },
}

impl Classify for NatsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Tls(error) => error.kind(),
            Self::Password { .. } | Self::Server { .. } | Self::Unsendable { .. } => ErrorKind::InvalidInput,
            Self::Disconnected => ErrorKind::Unavailable,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Disconnected)
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Tls(error) => error.hint(),
            Self::Password { .. } => Some("check the path, and that this user may read the file".to_owned()),
            Self::Server { .. } => Some("write it as `host:port`".to_owned()),
            Self::Disconnected => Some("check that a NATS server runs at one of the configured addresses".to_owned()),
            Self::Unsendable { .. } => None,
        }
    }
}
