//! The reasons for which a server that asks a gate cannot start.

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_net::ServerError;
use weir_tls::TlsError;

use crate::OpenError;

/// The reason for which a server whose callers come in by a [`Gate`](crate::Gate) cannot start, or has stopped.
#[derive(Debug, Error)]
pub enum StartError {
    /// A port or a server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The certificates cannot be read or used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The gate cannot be opened, so that no caller could be authorized.
    #[error(transparent)]
    Gate(#[from] OpenError),
}

impl Classify for StartError {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The error inside gives the text, the kind and the hint.
    #[test]
    fn the_cause_gives_text_kind_and_hint() {
        let cause = OpenError::Closed;
        let error = StartError::from(OpenError::Closed);
        assert_eq!(error.to_string(), cause.to_string());
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.hint(), cause.hint());
    }
}
