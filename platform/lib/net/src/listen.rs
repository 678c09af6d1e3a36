//! Opening a port, and why a server does not run.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::net::TcpListener;
use weir_error::{Classify, ErrorKind};
use weir_tls::TlsError;

/// Why a server cannot start, or stopped. A component that can fail in other ways too wraps it.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address cannot be bound.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The transport of a gRPC server failed.
    #[error("gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

impl Classify for ServerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { .. } => ErrorKind::Conflict,
            Self::Tls(error) => error.kind(),
            Self::Transport(_) => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => Some("free the port, or configure another address".to_owned()),
            Self::Tls(error) => error.hint(),
            Self::Transport(_) => None,
        }
    }
}

/// Opens the port at `address`; connections wait until a server accepts them. Returns the address that it has, which differs
/// from the one that was asked for where the port was 0.
///
/// # Errors
/// When the port cannot be had.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let failed = |source| ServerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests {
    use weir_error::chain;

    use super::*;

    /// A port that is taken is named, and the reader is told what to do.
    #[tokio::test]
    async fn a_taken_port_is_named() {
        let (_listener, address) = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        assert_ne!(address.port(), 0);
        let error = listen(address).await.expect_err("taken");
        assert!(chain(&error).starts_with(&format!("cannot listen on `{address}`: ")));
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.hint().is_some());
    }
}
