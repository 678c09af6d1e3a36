//! Whether a client keeps up: when its connection has to end although nothing failed.
//!
//! The socket notes each byte that moves, requests note when they begin and end and when they wait for the client's body, and
//! the connection's own future looks now and then. No timer is set for a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use weir_net::Connection;

use crate::peer::Peer;

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the head of a request, from its first byte on.
    pub(crate) head: Duration,
    /// Without a request.
    pub(crate) idle: Duration,
    /// Without a byte moving, while the router waits for it: for the body of a request, or for room for an answer.
    pub(crate) stalled: Duration,
}

/// What happens on one connection. Times are milliseconds since it was accepted.
#[derive(Debug)]
pub(crate) struct Watch {
    accepted: Instant,
    under_way: AtomicU32,
    /// Requests that wait for more of their body.
    wanting: AtomicU32,
    /// Whether the socket takes no more of an answer.
    blocked: AtomicBool,
    /// When a byte moved, or a request ended.
    moved: AtomicU64,
    /// One more than when the head of a request began to arrive; 0 while none does.
    head: AtomicU64,
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing is asked any more: it may end in order.
    Idle,
    /// The client does not keep up: it is cut.
    Stalled,
}

impl Watch {
    /// A connection that was just accepted.
    pub(crate) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            under_way: AtomicU32::new(0),
            wanting: AtomicU32::new(0),
            blocked: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            head: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The head of a request has come.
    pub(crate) fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
    }

    /// A request is over.
    pub(crate) fn end(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request waits for more of its body, or does so no more.
    pub(crate) fn wants_body(&self, wants: bool) {
        match wants {
            true => self.wanting.fetch_add(1, Ordering::Relaxed),
            false => self.wanting.fetch_sub(1, Ordering::Relaxed),
        };
    }

    fn read(&self) {
        let now = self.now();
        self.moved.store(now, Ordering::Relaxed);
        if self.under_way.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(now + 1, Ordering::Relaxed);
        }
    }

    fn wrote(&self, done: bool) {
        self.blocked.store(!done, Ordering::Relaxed);
        if done {
            self.moved.store(self.now(), Ordering::Relaxed);
        }
    }

    /// When the connection is over if nothing happens, and why; `None` while the router is the one to act.
    fn deadline(&self, patience: &Patience) -> Option<(u64, Over)> {
        let after = |since: u64, patience: Duration| {
            since.saturating_add(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX))
        };
        let moved = self.moved.load(Ordering::Relaxed);
        if self.blocked.load(Ordering::Relaxed) || self.wanting.load(Ordering::Relaxed) > 0 {
            return Some((after(moved, patience.stalled), Over::Stalled));
        }
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return None;
        }
        match self.head.load(Ordering::Relaxed) {
            0 => Some((after(moved, patience.idle), Over::Idle)),
            head => Some((after(head - 1, patience.head), Over::Stalled)),
        }
    }

    /// Waits until the connection is over.
    pub(crate) async fn over(&self, patience: &Patience) -> Over {
        // What begins after a look is seen at the next one, in time.
        let look = patience.head.min(patience.stalled).min(patience.idle) / 2;
        loop {
            let now = self.now();
            let wait = match self.deadline(patience) {
                Some((deadline, over)) if deadline <= now => return over,
                Some((deadline, _)) => Duration::from_millis(deadline - now).min(look),
                None => look,
            };
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }
}

/// A client's connection whose bytes are noted.
#[derive(Debug)]
pub(crate) struct Watched {
    connection: Connection,
    peer: Arc<Peer>,
}

impl Watched {
    pub(super) const fn new(connection: Connection, peer: Arc<Peer>) -> Self {
        Self { connection, peer }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.connection).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.peer.watch.read();
        }
        result
    }
}

impl Watched {
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.peer.watch.wrote(result.is_ready());
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.connection).poll_write(cx, buf);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.connection).poll_write_vectored(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(30),
        idle: Duration::from_secs(900),
        stalled: Duration::from_secs(60),
    };

    /// Why a connection is over, and after how many seconds, at most one look later than its deadline.
    async fn over(watch: &Watch) -> (Over, u64) {
        let begun = Instant::now();
        let over = watch.over(&PATIENCE).await;
        (over, begun.elapsed().as_secs())
    }

    /// A client without a request may stay for long, one that never finishes its head may not.
    #[tokio::test(start_paused = true)]
    async fn heads_have_to_come_in_time() {
        let watch = Watch::new();
        assert_eq!(over(&watch).await, (Over::Idle, 900));
        let watch = Watch::new();
        watch.read();
        tokio::time::sleep(20 * SECOND).await;
        watch.read();
        assert_eq!(over(&watch).await, (Over::Stalled, 10));
    }

    /// A backend may take its time; a client that does not read or send may not.
    #[tokio::test(start_paused = true)]
    async fn clients_have_to_keep_up() {
        let watch = Watch::new();
        watch.read();
        watch.begin();
        let hour = tokio::time::timeout(3600 * SECOND, watch.over(&PATIENCE)).await;
        assert!(hour.is_err());
        watch.wrote(false);
        assert_eq!(over(&watch).await.0, Over::Stalled);
        watch.wrote(true);
        watch.wants_body(true);
        assert_eq!(over(&watch).await, (Over::Stalled, 60));
        watch.wants_body(false);
        watch.end();
        assert_eq!(over(&watch).await, (Over::Idle, 900));
    }
}
