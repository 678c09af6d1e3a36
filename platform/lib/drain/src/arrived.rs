//! Measures how many of the bytes written to a TCP connection have arrived in the peer's kernel.
//!
//! Syslog over TCP has no answers, but the peer's kernel acknowledges bytes. The local kernel tells how many bytes are
//! not acknowledged yet, through a netlink socket (`sock_diag`), which takes a few microseconds and no privileges.
//! Where it does not answer, the transport settles shipments by their age (`tcp.rs`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Counts the bytes of a connection that were written and that have arrived.
#[derive(Debug)]
pub(crate) struct Meter {
    written: AtomicU64,
    arrived: AtomicU64,
    /// The local and the peer's address, if the kernel answers questions about the connection.
    ends: Option<(SocketAddr, SocketAddr)>,
}

impl Meter {
    fn new(stream: &TcpStream) -> Self {
        let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
        Self {
            written: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            ends: ends.filter(|(local, peer)| unacknowledged(*local, *peer).is_some()),
        }
    }

    /// The number of bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The number of bytes that the peer's kernel has received; `None` if that cannot be known.
    pub(crate) fn arrived(&self) -> Option<u64> {
        let (local, peer) = self.ends?;
        // The kernel knows no connection that has ended. The last number stays true.
        if let Some(waiting) = unacknowledged(local, peer) {
            let arrived = self.written().saturating_sub(u64::from(waiting));
            self.arrived.fetch_max(arrived, Ordering::Relaxed);
        }
        Some(self.arrived.load(Ordering::Relaxed))
    }
}

/// A TCP stream that counts the bytes written to it.
#[derive(Debug)]
pub(crate) struct MeteredStream {
    stream: TcpStream,
    meter: Arc<Meter>,
}

impl MeteredStream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let meter = Arc::new(Meter::new(&stream));
        Self { stream, meter }
    }

    /// Returns a stream whose kernel answers no questions, for tests.
    #[cfg(test)]
    pub(crate) fn without_kernel_answers(stream: TcpStream) -> Self {
        let meter = Arc::new(Meter {
            ends: None,
            ..Meter::new(&stream)
        });
        Self { stream, meter }
    }

    pub(crate) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// The size of the kernel's send buffer, in bytes.
    pub(crate) fn send_buffer(&self) -> usize {
        socket2::SockRef::from(&self.stream).send_buffer_size().unwrap_or(0)
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.meter.written.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.meter.written.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Returns the number of written bytes that the peer's kernel has not acknowledged.
#[cfg(target_os = "linux")]
fn unacknowledged(local: SocketAddr, peer: SocketAddr) -> Option<u32> {
    netlink::unacknowledged(local, peer)
}

#[cfg(not(target_os = "linux"))]
fn unacknowledged(_local: SocketAddr, _peer: SocketAddr) -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
mod netlink {
    //! Asks the kernel with `struct inet_diag_req_v2` and reads `struct inet_diag_msg` (`linux/inet_diag.h`), each
    //! behind a `struct nlmsghdr`.

    use std::net::{IpAddr, SocketAddr};
    use std::os::fd::OwnedFd;
    use std::sync::LazyLock;

    use parking_lot::Mutex;
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

    /// The size of `struct nlmsghdr`.
    const HEADER: usize = 16;
    /// `NLM_F_REQUEST`.
    const REQUEST: u16 = 1;
    /// `SOCK_DIAG_BY_FAMILY`.
    const BY_FAMILY: u16 = 20;
    /// `IPPROTO_TCP`.
    const TCP: u8 = 6;
    /// The offset of `idiag_wqueue`: it stands behind the family and other bytes (4), the socket's id (48), and the
    /// expiry and read queue (8).
    const WRITE_QUEUE: usize = HEADER + 4 + 48 + 8;

    /// The netlink socket of this process.
    struct DiagnosticSocket {
        socket: OwnedFd,
        sequence: u32,
    }

    static DIAGNOSTIC_SOCKET: LazyLock<Option<Mutex<DiagnosticSocket>>> = LazyLock::new(|| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(netlink::SOCK_DIAG),
        );
        socket
            .ok()
            .map(|socket| Mutex::new(DiagnosticSocket { socket, sequence: 0 }))
    });

    pub(super) fn unacknowledged(local: SocketAddr, peer: SocketAddr) -> Option<u32> {
        DIAGNOSTIC_SOCKET.as_ref()?.lock().query(local, peer)
    }

    impl DiagnosticSocket {
        fn query(&mut self, local: SocketAddr, peer: SocketAddr) -> Option<u32> {
            self.sequence = self.sequence.wrapping_add(1);
            send(&self.socket, &request(self.sequence, local, peer), SendFlags::empty()).ok()?;
            // The kernel answers within `send`, so nothing is waited for. The answer to an earlier question may come
            // first.
            let mut answer = [0; 1024];
            loop {
                let (length, _) = recv(&self.socket, &mut answer, RecvFlags::DONTWAIT).ok()?;
                let answer = &answer[..length.min(1024)];
                if number(answer, 8)? == self.sequence {
                    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
                    return if kind == BY_FAMILY {
                        number(answer, WRITE_QUEUE)
                    } else {
                        None
                    };
                }
            }
        }
    }

    fn number(bytes: &[u8], at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    }

    fn request(sequence: u32, local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
        let family = if local.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let mut request = Vec::with_capacity(72);
        request.extend(72_u32.to_ne_bytes());
        request.extend(BY_FAMILY.to_ne_bytes());
        request.extend(REQUEST.to_ne_bytes());
        request.extend(sequence.to_ne_bytes());
        request.extend(0_u32.to_ne_bytes());
        // Family, protocol, no extensions, and padding; then the mask for connections in every state.
        request.extend([
            family.as_raw().to_ne_bytes()[usize::from(cfg!(target_endian = "big"))],
            TCP,
            0,
            0,
        ]);
        request.extend(u32::MAX.to_ne_bytes());
        request.extend(local.port().to_be_bytes());
        request.extend(peer.port().to_be_bytes());
        request.extend(sixteen(local.ip()));
        request.extend(sixteen(peer.ip()));
        let interface = match peer {
            SocketAddr::V6(peer) => peer.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        request.extend(interface.to_ne_bytes());
        // INET_DIAG_NOCOOKIE: the socket is found by its addresses alone.
        request.extend([0xff; 8]);
        request
    }

    fn sixteen(address: IpAddr) -> [u8; 16] {
        match address {
            IpAddr::V4(address) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&address.octets());
                bytes
            }
            IpAddr::V6(address) => address.octets(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Bytes that the peer's kernel cannot accept count as not arrived until the peer reads, over IPv4 and IPv6.
    #[tokio::test]
    async fn arrived_bytes_are_counted_when_the_peer_reads() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address).await else {
                continue; // no IPv6 here
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let mut stream = MeteredStream::new(client);
            let meter = stream.meter();
            if meter.arrived().is_none() {
                continue; // no sock_diag here
            }
            let mut written = 0;
            let chunk = vec![b'x'; 64 * 1024];
            while let Ok(count) =
                tokio::time::timeout(std::time::Duration::from_millis(100), stream.write(&chunk)).await
            {
                written += count.unwrap() as u64;
            }
            assert_eq!(meter.written(), written);
            assert!(meter.arrived().unwrap() < written);
            let mut read = 0;
            let mut buffer = vec![0; 64 * 1024];
            while read < written {
                read += server.read(&mut buffer).await.unwrap() as u64;
            }
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
            while meter.arrived().unwrap() < written {
                assert!(tokio::time::Instant::now() < deadline);
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }
}
