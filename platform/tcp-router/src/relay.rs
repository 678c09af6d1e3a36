//! Carries the bytes of one connection both ways, until both sides have ended.
//!
//! A [`Direction`] reads from one side and writes to the other. It begins with `read` and `write` through a buffer of the
//! thread, which is cheapest for small pieces. When a read fills that buffer, the bytes go on through a pipe by `splice`,
//! without being copied to this process, as long as large pieces come. A direction that waits for its source holds neither a
//! buffer nor a pipe, so an idle connection costs two sockets and a task.
//!
//! When a side ends, the other one is told (half-close), and the opposite direction goes on. When a side fails, or nothing
//! was carried for the idle time, both sides are closed.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

mod direction;
mod pipes;

use direction::{Direction, Fault};
pub(crate) use pipes::Pipes;

/// One side of a connection.
pub(crate) trait Side: AsyncRead + AsyncWrite + Unpin {
    /// The socket itself, if the bytes that are carried are those on the wire: only they can be spliced.
    fn socket(&self) -> Option<&TcpStream>;
}

impl Side for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// What was carried by now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    /// Bytes from the client to the backend.
    pub(crate) received: u64,
    /// Bytes from the backend to the client.
    pub(crate) sent: u64,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum End {
    /// Both sides ended.
    #[error("both sides have ended")]
    Finished,
    /// Nothing was carried for the idle time.
    #[error("nothing was carried for the idle time")]
    Idle,
    /// The client could not be read or written.
    #[error("client: {0}")]
    Client(io::Error),
    /// The backend could not be read or written.
    #[error("backend: {0}")]
    Backend(io::Error),
}

/// Carries bytes between `client` and `backend`, until both have ended, one fails, or nothing was carried for `idle`. The
/// `opening` was read from the client before. `carried` is right at any time, also when the future is dropped.
pub(crate) async fn relay<C: Side, B: Side>(
    client: &mut C,
    backend: &mut B,
    opening: BytesMut,
    pipes: &Pipes,
    idle: Duration,
    carried: &mut Carried,
) -> End {
    let (mut up, mut down) = (Direction::beginning_with(opening), Direction::default());
    let mut quiet = Quiet::new(idle);
    let mut timer = pin!(tokio::time::sleep(idle));
    poll_fn(|cx| {
        let upward = up
            .poll(cx, client, backend, pipes, down.is_closed())
            .map_err(|fault| match fault {
                Fault::Source(error) => End::Client(error),
                Fault::Destination(error) => End::Backend(error),
            });
        let downward = down
            .poll(cx, backend, client, pipes, up.is_closed())
            .map_err(|fault| match fault {
                Fault::Source(error) => End::Backend(error),
                Fault::Destination(error) => End::Client(error),
            });
        if (up.carried(), down.carried()) != (carried.received, carried.sent) {
            (carried.received, carried.sent) = (up.carried(), down.carried());
            quiet.carried();
        }
        match (upward, downward) {
            (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => Poll::Ready(end),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Finished),
            _ => quiet.poll(cx, timer.as_mut()).map(|()| End::Idle),
        }
    })
    .await
}

/// Notices that nothing was carried for a while. Its timer is not moved with each piece, only when it fires.
struct Quiet {
    idle: Duration,
    since: Instant,
}

impl Quiet {
    fn new(idle: Duration) -> Self {
        Self {
            idle,
            since: Instant::now(),
        }
    }

    fn carried(&mut self) {
        self.since = Instant::now();
    }

    fn poll(&self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<()> {
        while timer.as_mut().poll(cx).is_ready() {
            let over = self.since + self.idle;
            if over <= timer.deadline() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(over);
        }
        Poll::Pending
    }
}
