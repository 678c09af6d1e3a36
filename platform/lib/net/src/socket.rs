//! The socket under TLS, which reads ahead and writes small pieces together.
//!
//! rustls reads 4 KiB at a time, which would take a dozen system calls for a batch. And HTTP/2 flushes whenever one
//! stream has data: fifty streams that are due at one tick would cause fifty system calls, each of which wakes the
//! receiver. A flush therefore lets every other task that is ready run first, once, before it writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// How many bytes a connection between components of the stack reads ahead.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

/// The size in bytes from which a write goes straight to the socket.
const LARGE_WRITE: usize = 16 * 1024;

/// The size in bytes up to which small writes are gathered.
const WRITE_BUFFER: usize = 64 * 1024;

/// A TCP connection, or another stream, that carries TLS.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    inner: BufReader<S>,
    /// Whether small writes wait for a flush.
    gathers: bool,
    /// Small writes that were gathered since the last flush.
    waiting: Vec<u8>,
    /// Whether the other tasks had their turn since the flush began.
    yielded: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket that reads up to `read_ahead` bytes at once, and gathers small writes until a flush if `gathers` is
    /// true.
    pub(crate) fn new(stream: S, read_ahead: usize, gathers: bool) -> Self {
        Self {
            inner: BufReader::with_capacity(read_ahead, stream),
            gathers,
            waiting: Vec::new(),
            yielded: false,
        }
    }

    /// Writes everything that was gathered.
    fn poll_write_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut written = 0;
        let result = loop {
            if written == self.waiting.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.inner).poll_write(cx, &self.waiting[written..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        // Once for all writes: removing from the front moves the rest.
        self.waiting.drain(..written);
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.gathers && size < LARGE_WRITE && self.waiting.len() + size <= WRITE_BUFFER {
            for buf in bufs {
                self.waiting.extend_from_slice(buf);
            }
            return Poll::Ready(Ok(size));
        }
        // What was gathered before has to be written before.
        ready!(self.poll_write_gathered(cx))?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() && !self.yielded {
            // Waking itself puts this task behind all that are ready now; they may add to what is gathered.
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_write_gathered(cx))?;
        self.yielded = false;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_gathered(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// After small and large writes with a flush now and then, everything has arrived in order.
    #[tokio::test]
    async fn writes_of_all_sizes_arrive_in_order() {
        for gathers in [true, false] {
            in_order(gathers).await;
        }
    }

    async fn in_order(gathers: bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address"));
        let (client, accepted) = tokio::join!(client, listener.accept());
        let mut writer = Socket::new(client.expect("connected"), READ_BUFFER, gathers);
        let mut reader = Socket::new(accepted.expect("accepted").0, READ_BUFFER, gathers);
        let mut sent = Vec::new();
        let sizes = [1, 100, 20_000, 3, 15_000, 15_000, 15_000, 15_000, 15_000, 70_000, 5];
        let writing = async {
            for (index, size) in sizes.into_iter().enumerate() {
                let piece = vec![u8::try_from(index).expect("few"); size];
                writer.write_all(&piece).await.expect("written");
                if index % 3 == 0 {
                    writer.flush().await.expect("flushed");
                }
                sent.extend(piece);
            }
            writer.shutdown().await.expect("shut down");
        };
        let mut received = Vec::new();
        let reading = reader.read_to_end(&mut received);
        let ((), read) = tokio::join!(writing, reading);
        read.expect("read");
        assert!(received == sent);
    }
}
