//! The reasons for which a router cannot run.

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_nats_client::NatsError;
use weir_net::ServerError;
use weir_tls::{PemError, TlsError};

/// The reason for which a router cannot start.
#[derive(Debug, Error)]
pub enum Error {
    /// A port cannot be had.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The certificates cannot be read or used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS towards route services cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The access log file cannot be written to.
    #[error("access log file cannot be written to")]
    AccessLog(#[from] std::io::Error),
    /// The settings of NATS cannot be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::Pem(_) => ErrorKind::InvalidInput,
            Self::AccessLog(_) => ErrorKind::Unavailable,
            Self::Nats(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Pem(_) => None,
            Self::AccessLog(_) => {
                Some("check the path of `telemetry.file`, and its directory's owner and mode".to_owned())
            }
            Self::Nats(error) => error.hint(),
        }
    }
}
