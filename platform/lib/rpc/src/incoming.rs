//! Accepting connections: TCP, then TLS with a deadline, both counted against one limit.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use weir_service::{Shutdown, Tasks};
use weir_tls::ServerTls;

use crate::socket::Socket;

/// A client that has not finished its TLS handshake by then is cut.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// A connection after its handshake.
type Transport = tokio_rustls::server::TlsStream<Socket>;

/// Accepts TLS connections until `shutdown`; no more than `max_connections` exist at a time, further ones wait in the
/// kernel's queue.
pub(crate) fn accept(
    listener: TcpListener,
    tls: ServerTls,
    max_connections: usize,
    shutdown: Shutdown,
    tasks: &Tasks,
) -> ReceiverStream<io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(64);
    let limit = Arc::new(Semaphore::new(max_connections));
    let handshakes = tasks.clone();
    tasks.spawn("accept connections", async move {
        while let Some(Ok(permit)) = shutdown.unless_requested(Arc::clone(&limit).acquire_owned()).await {
            let Some(accept) = shutdown.unless_requested(listener.accept()).await else {
                break;
            };
            let (stream, peer) = match accept {
                Ok(accept) => accept,
                Err(error) => {
                    // Out of file descriptors, or the client went away in the queue: the listener itself goes on.
                    weir_telemetry::limited!(warn, weir_telemetry::EACH_SECOND, %error, "cannot accept a connection");
                    shutdown
                        .unless_requested(tokio::time::sleep(Duration::from_millis(50)))
                        .await;
                    continue;
                }
            };
            let (tls, accepted) = (tls.clone(), accepted.clone());
            handshakes.spawn("tls handshake", async move {
                match tokio::time::timeout(HANDSHAKE_DEADLINE, handshake(&tls, stream)).await {
                    Ok(Ok(stream)) => {
                        let connection = Connection {
                            stream,
                            peer,
                            _permit: permit,
                        };
                        // The receiver is gone only when the server has stopped.
                        accepted.send(Ok(connection)).await.ok();
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

async fn handshake(tls: &ServerTls, stream: TcpStream) -> io::Result<Transport> {
    tls.acceptor().accept(Socket::new(stream)?).await
}

/// An accepted connection; gives its place back when it is dropped.
pub(crate) struct Connection {
    stream: Transport,
    peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
