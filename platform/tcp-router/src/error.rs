//! The reasons for which a TCP router cannot run.

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_net::ServerError;
use weir_routing_api_client::ClientError;
use weir_tls::TlsError;

/// The reason for which a TCP router cannot start.
#[derive(Debug, Error)]
pub enum Error {
    /// The port for health checks cannot be had.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The certificates for backends cannot be read or used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The routing API cannot be asked with this configuration.
    #[error(transparent)]
    RoutingApi(#[from] ClientError),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::RoutingApi(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::RoutingApi(error) => error.hint(),
        }
    }
}
