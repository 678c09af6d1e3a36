//! Opening a port, and the errors of servers.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::net::TcpListener;
use weir_error::{Classify, ErrorKind};
use weir_tls::TlsError;

/// The error of a server that cannot start, or that has failed. A component that can fail in other ways too wraps it.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The port cannot be opened.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The error of the operating system.
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

/// Opens the port at `address`. Connections wait in the kernel's queue until a server accepts them. Returns the
/// listener and its address, which differs from `address` where the port was 0.
///
/// # Errors
/// When the port cannot be opened.
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

    /// The error for a port that is in use names the port and has a hint.
    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let (_listener, address) = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        assert_ne!(address.port(), 0);
        let error = listen(address).await.expect_err("taken");
        assert!(chain(&error).starts_with(&format!("cannot listen on `{address}`: ")));
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.hint().is_some());
    }
}
