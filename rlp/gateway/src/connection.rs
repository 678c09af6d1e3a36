//! A connection as its streams see it: how many of their events are in the socket, and a way to cut it.
//!
//! hyper flushes its connection only when it has written everything that it took from a response body. So after each
//! successful flush, every event that was taken before is in the kernel's buffer. This is the most that the client can
//! have.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use weir_service::{Shutdown, Trigger};

/// A handle of a connection for the streams on it. Clones refer to one connection.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionHandle {
    shared: Arc<Shared>,
    cut: Trigger,
}

#[derive(Debug, Default)]
struct Shared {
    /// The number of events that the connection has taken since it was opened.
    taken: AtomicU64,
    /// The number of events that are in the socket.
    flushed: AtomicU64,
    changed: Notify,
}

impl ConnectionHandle {
    /// Creates a handle, and the signal that tells its connection to end.
    pub(crate) fn new() -> (Self, Shutdown) {
        let (cut, is_cut) = Shutdown::new();
        let shared = Arc::default();
        (Self { shared, cut }, is_cut)
    }

    /// Ends the connection at once, whatever is in flight.
    pub(crate) fn cut(&self) {
        self.cut.fire();
    }

    /// Counts an event that the connection takes. It is called on the task of the connection.
    pub(crate) fn take(&self) {
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn flushed(&self) -> u64 {
        self.shared.flushed.load(Ordering::Acquire)
    }

    /// Waits until `count` events are in the socket. Cancel safe.
    pub(crate) async fn reaches(&self, count: u64) {
        loop {
            // The waiter must be registered before the count is read, or a flush between the two would be missed.
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.flushed() >= count {
                return;
            }
            changed.await;
        }
    }
}

/// A wrapper of the connection's I/O that counts what is flushed.
#[derive(Debug)]
pub(crate) struct FlushCounter<S> {
    inner: S,
    connection: ConnectionHandle,
}

impl<S> FlushCounter<S> {
    pub(crate) const fn new(inner: S, connection: ConnectionHandle) -> Self {
        Self { inner, connection }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FlushCounter<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FlushCounter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            let shared = &self.connection.shared;
            // hyper flushes only when it has written everything that it took, so all taken events have left.
            let taken = shared.taken.load(Ordering::Relaxed);
            if shared.flushed.swap(taken, Ordering::Release) != taken {
                shared.changed.notify_waiters();
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
