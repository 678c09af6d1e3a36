//! Connections that change to another protocol, WebSocket above all: bytes pass both ways until one side is done.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_platform_gorouter_table::Lease;

use crate::account::Account;
use crate::backend::Exclusive;
use crate::telemetry::Counters;

/// Bytes that are read at once. They lie on the stack: a tunnel on which nothing happens holds no memory for bytes.
const PIECE: usize = 16 * 1024;

/// A client and a backend that have agreed on another protocol.
#[derive(Debug)]
pub(crate) struct Tunnel {
    client: OnUpgrade,
    backend: Box<Exclusive>,
    lease: Lease,
}

impl Tunnel {
    /// A tunnel that begins when the client has got the answer.
    pub(crate) const fn new(client: OnUpgrade, backend: Box<Exclusive>, lease: Lease) -> Self {
        Self { client, backend, lease }
    }

    /// Carries bytes until both sides are done or one breaks. `account` is the request's, which ends with the tunnel.
    pub(crate) fn spawn(self, mut account: Account) {
        let Self { client, backend, lease } = self;
        let router = std::sync::Arc::clone(&account.peer().router);
        Counters::add(&router.told.counters.websocket_upgrades, 1);
        router.tasks.clone().spawn("tunnel", async move {
            let (mut backend, early) = backend.into_upgraded().await;
            let mut client = match client.await {
                Ok(client) => TokioIo::new(client),
                Err(error) => return tracing::debug!(%error, "client did not change the protocol"),
            };
            let (mut up, mut down) = (Pipe::default(), Pipe::with(early));
            let carried = poll_fn(|cx| {
                let up = up.poll(cx, &mut client, &mut backend)?;
                let down = down.poll(cx, &mut backend, &mut client)?;
                match (up, down) {
                    (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok::<_, io::Error>(())),
                    _ => Poll::Pending,
                }
            });
            if let Some(Err(error)) = router.cut.unless_requested(carried).await {
                tracing::debug!(%error, "tunnel broke");
            }
            account.carried(up.carried, down.carried);
            drop(lease);
        });
    }
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
struct Pipe {
    /// What was read and is not written yet.
    rest: BytesMut,
    carried: u64,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The reader has ended, the writer is told.
    Ending,
    Done,
}

impl Pipe {
    /// A direction of which `early` was read before.
    fn with(early: Bytes) -> Self {
        Self {
            rest: early.into(),
            ..Self::default()
        }
    }

    /// Carries what there is; ready when the reader has ended and the writer was told.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.rest.is_empty() {
                let written = ready!(Pin::new(&mut *writer).poll_write(cx, &self.rest))?;
                self.wrote(written)?;
                self.rest.advance(written);
            }
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                    self.state = State::Done;
                }
                State::Open => {
                    // An empty buffer is worth less than the memory of an idle tunnel.
                    self.rest = BytesMut::new();
                    let mut space = [const { MaybeUninit::<u8>::uninit() }; PIECE];
                    let mut piece = ReadBuf::uninit(&mut space);
                    if Pin::new(&mut *reader).poll_read(cx, &mut piece)?.is_pending() {
                        // TLS may hold back what was written.
                        let _flushed = Pin::new(&mut *writer).poll_flush(cx)?;
                        return Poll::Pending;
                    }
                    let mut piece = piece.filled();
                    if piece.is_empty() {
                        self.state = State::Ending;
                    }
                    while !piece.is_empty() {
                        match Pin::new(&mut *writer).poll_write(cx, piece)? {
                            Poll::Ready(written) => {
                                self.wrote(written)?;
                                piece = &piece[written..];
                            }
                            Poll::Pending => {
                                self.rest.extend_from_slice(piece);
                                return Poll::Pending;
                            }
                        }
                    }
                }
            }
        }
    }

    fn wrote(&mut self, written: usize) -> io::Result<()> {
        self.carried += written as u64;
        match written {
            0 => Err(io::ErrorKind::WriteZero.into()),
            _ => Ok(()),
        }
    }
}
