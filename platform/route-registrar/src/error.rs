//! Why a registrar cannot start.

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_nats_client::NatsError;
use weir_net::ServerError;
use weir_routing_api_client::ClientError;
use weir_tls::TlsError;

/// A registrar cannot start.
#[derive(Debug, Error)]
pub enum Error {
    /// Its own port or certificate cannot be used.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The routing API cannot be used as it is configured.
    #[error(transparent)]
    RoutingApi(#[from] ClientError),
    /// NATS cannot be used as it is configured.
    #[error(transparent)]
    Nats(#[from] NatsError),
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Self::Server(error.into())
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::RoutingApi(error) => error.kind(),
            Self::Nats(error) => error.kind(),
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Server(error) => error.retryable(),
            Self::RoutingApi(error) => error.retryable(),
            Self::Nats(error) => error.retryable(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::RoutingApi(error) => error.hint(),
            Self::Nats(error) => error.hint(),
        }
    }
}
