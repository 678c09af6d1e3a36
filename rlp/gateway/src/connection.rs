//! A connection, as its streams see it: how much of what they sent lies in the socket, and a way to cut it.
//!
//! hyper flushes its connection only when all that it took from an answer's body is written. So at each flush that
//! succeeds, every event that was taken by then lies in the kernel's buffer: exactly so much the client can have.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use weir_service::{Shutdown, Trigger};

/// A connection's other end, for the streams on it. Clones are of the same connection.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    shared: Arc<Shared>,
    cut: Trigger,
}

#[derive(Debug, Default)]
struct Shared {
    /// Events that the connection has taken, since its beginning.
    taken: AtomicU64,
    /// How many of them lie in the socket.
    flushed: AtomicU64,
    changed: Notify,
}

impl Line {
    /// A line, and what tells its connection to end.
    pub(crate) fn new() -> (Self, Shutdown) {
        let (cut, is_cut) = Shutdown::new();
        let shared = Arc::default();
        (Self { shared, cut }, is_cut)
    }

    /// Ends the connection, whatever is on its way.
    pub(crate) fn cut(&self) {
        self.cut.fire();
    }

    /// The connection takes one more event; called on its task.
    pub(crate) fn take(&self) {
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn flushed(&self) -> u64 {
        self.shared.flushed.load(Ordering::Acquire)
    }

    /// Waits until `count` events lie in the socket. Cancel safe.
    pub(crate) async fn reaches(&self, count: u64) {
        loop {
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

/// The connection's end: passes everything on, and notes the flushes.
#[derive(Debug)]
pub(crate) struct Noted<S> {
    inner: S,
    line: Line,
}

impl<S> Noted<S> {
    pub(crate) const fn new(inner: S, line: Line) -> Self {
        Self { inner, line }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            let shared = &self.line.shared;
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
