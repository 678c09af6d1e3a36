//! Connecting to a backend: TCP, a PROXY header if one is configured, TLS with the identity of the instance.

use std::io;

use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use weir_net::ProxiedAddresses;
use weir_tls::{HandshakeError, TlsError};

use crate::relay::Side;
use crate::router::Router;
use crate::routes::Backend;

/// A backend that answers.
#[derive(Debug)]
pub(crate) enum Connected {
    /// As it is.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Side for TlsStream<TcpStream> {
    /// What is on the wire are not the bytes that are carried.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// Why a backend cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// It cannot be connected to.
    #[error("{0}")]
    Connect(#[from] io::Error),
    /// It takes too long.
    #[error("it does not answer in time")]
    Late,
    /// TLS with it fails.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// It has TLS, and there is no certificate or no valid name for it.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// It has TLS, which is not configured.
    #[error("it has TLS, which is not configured here")]
    NoTls,
}

/// Connects to `backend` for a connection between `addresses`.
pub(crate) async fn connect(
    backend: &Backend,
    addresses: ProxiedAddresses,
    router: &Router,
) -> Result<Connected, ConnectError> {
    let connecting = timeout(router.times.connect, open(backend, addresses, router)).await;
    connecting.map_err(|_| ConnectError::Late)?
}

async fn open(backend: &Backend, addresses: ProxiedAddresses, router: &Router) -> Result<Connected, ConnectError> {
    let mut socket = TcpStream::connect((&*backend.host, backend.port)).await?;
    // Small pieces must not wait for the answers to earlier ones. Fails only for a socket that is closed already.
    socket.set_nodelay(true).ok();
    if let Some(version) = router.announced {
        socket.write_all(&addresses.header(version)).await?;
    }
    if !backend.tls {
        return Ok(Connected::Plain(socket));
    }
    let tls = router.tls.as_ref().ok_or(ConnectError::NoTls)?;
    let name = weir_tls::server_name(&backend.instance_id)?;
    let stream = tls.connector().connect(name, socket).await;
    let stream = stream.map_err(|error| weir_tls::explain(&backend.to_string(), error))?;
    Ok(Connected::Tls(Box::new(stream)))
}
