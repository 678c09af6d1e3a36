//! An accepted connection: a socket that reads as ended once its place was given to another connection, and TLS over it
//! where the port has TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::place::{Place, Seat};
use crate::socket::Socket;

/// A TCP connection that reads as ended by its peer once it has to leave its seat. What has arrived by then is read
/// before.
#[derive(Debug)]
pub(super) struct Seated {
    stream: TcpStream,
    seat: Arc<Seat>,
}

impl Seated {
    pub(super) const fn new(stream: TcpStream, seat: Arc<Seat>) -> Self {
        Self { stream, seat }
    }
}

impl AsyncRead for Seated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // The socket is read first, so that a request that has arrived already is still served.
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => self.seat.poll_leaving(cx).map(Ok),
        }
    }
}

impl AsyncWrite for Seated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// TLS over a socket whose place can be taken away.
pub(super) type Encrypted = TlsStream<Socket<Seated>>;

/// What a connection's bytes travel over.
#[derive(Debug)]
pub(super) enum Transport {
    /// The socket itself.
    Plain(Seated),
    /// TLS over it.
    Tls(Box<Encrypted>),
}

/// An accepted connection, after its handshake where the port has TLS. Its place is free again when the connection and all
/// clones of its
/// [`Place`] are dropped.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    peer: SocketAddr,
    place: Place,
}

/// Calls a method of whatever the bytes of `$connection` travel over.
macro_rules! transport {
    ($connection:expr, $method:ident($($argument:expr),*)) => {
        match &mut $connection.transport {
            Transport::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl Connection {
    pub(super) const fn new(transport: Transport, peer: SocketAddr, place: Place) -> Self {
        Self { transport, peer, place }
    }

    /// The address of the client.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The place of the connection among those of its port.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// The socket of a connection that is not encrypted, and its place, for a component that carries the bytes itself. The
    /// socket does not end when the place is given up, so something has to be under way on it ([`Place::begin`]).
    ///
    /// # Errors
    /// The connection, when it is encrypted.
    pub fn into_socket(self) -> Result<(TcpStream, Place), Self> {
        match self.transport {
            Transport::Plain(seated) => Ok((seated.stream, self.place)),
            transport @ Transport::Tls(_) => Err(Self { transport, ..self }),
        }
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// The protocol that was agreed on by ALPN, if any was.
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        match &self.transport {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The certificate that the client has shown, DER, if the port asked for one and the client had one.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&[u8]> {
        match &self.transport {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.get_ref().1.peer_certificates()?.first().map(|der| der.as_ref()),
        }
    }
}

impl Connected for Connection {
    /// The place, which a gRPC call finds among the extensions of its request.
    type ConnectInfo = Place;

    fn connect_info(&self) -> Place {
        self.place()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        transport!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        transport!(self, poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        transport!(self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        transport!(self, poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        transport!(self, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
