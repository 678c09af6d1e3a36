//! The bytes of one side on their way to the other.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{Interest, ReadBuf};

use super::Side;
use super::pipes::{Pipe, Pipes};

/// Bytes that are read at once into the buffer of the thread: most that a direction holds in memory.
const BUFFER: usize = 16 * 1024;

/// Pieces that a direction splices although they are small, before it copies again.
const SMALL_SPLICES: u8 = 8;

/// A piece below this is cheaper to copy than to splice.
const SMALL: usize = BUFFER;

thread_local! {
    /// The buffer that the directions of a thread read into, one after the other. What cannot be written at once leaves it.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into());
}

/// The side that failed.
pub(super) enum Fault {
    /// The bytes came from this one.
    Source(io::Error),
    /// The bytes went to this one.
    Destination(io::Error),
}

/// Bytes that were read and not yet written.
#[derive(Debug, Default)]
enum Waiting {
    #[default]
    Nothing,
    /// In memory.
    Copied(BytesMut),
    /// In a pipe.
    Spliced(Pipe),
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Direction {
    waiting: Waiting,
    /// How many more small pieces are spliced; none if the direction copies.
    splices: u8,
    flushed: bool,
    /// The source has ended.
    at_end: bool,
    /// The destination was told.
    closed: bool,
    carried: u64,
}

impl Direction {
    /// A direction whose first bytes were read before.
    pub(super) fn beginning_with(opening: BytesMut) -> Self {
        Self {
            waiting: Waiting::Copied(opening),
            ..Self::default()
        }
    }

    /// Bytes that were written to the destination.
    pub(super) const fn carried(&self) -> u64 {
        self.carried
    }

    /// Whether the source has ended and the destination was told.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Carries what there is; ready when the source has ended and the destination was told. The `last` of two directions leaves
    /// that to the closing of the socket.
    pub(super) fn poll<S: Side, D: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut S,
        to: &mut D,
        pipes: &Pipes,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_write(cx, to)).map_err(Fault::Destination)?;
            if self.at_end {
                if !last || to.socket().is_none() {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Fault::Destination)?;
                }
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            let read = match self.splices {
                0 => self.poll_copy(cx, from, to),
                _ => self.poll_splice(cx, from, pipes),
            };
            match read {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    // A side that encrypts may hold what was written.
                    if !self.flushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Fault::Destination)?;
                        self.flushed = true;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes what waits; ready when nothing does any more.
    fn poll_write<D: Side>(&mut self, cx: &mut Context<'_>, to: &mut D) -> Poll<io::Result<()>> {
        match &mut self.waiting {
            Waiting::Nothing => return Poll::Ready(Ok(())),
            Waiting::Copied(bytes) => {
                while !bytes.is_empty() {
                    let count = ready!(Pin::new(&mut *to).poll_write(cx, bytes))?;
                    if count == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    bytes.advance(count);
                    self.carried += count as u64;
                }
            }
            Waiting::Spliced(pipe) => {
                let socket = to.socket().expect("only between sockets is there something in a pipe");
                while !pipe.is_empty() {
                    ready!(socket.poll_write_ready(cx))?;
                    match socket.try_io(Interest::WRITABLE, || pipe.empty_into(socket)) {
                        Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        Ok(written) => self.carried += written as u64,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            }
        }
        self.waiting = Waiting::Nothing;
        Poll::Ready(Ok(()))
    }

    /// Reads a piece and writes it as far as possible. Goes over to splicing when there is more than the buffer holds.
    fn poll_copy<S: Side, D: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut S,
        to: &mut D,
    ) -> Poll<Result<(), Fault>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer)).map_err(Fault::Source)?;
            let mut piece = buffer.filled();
            if piece.is_empty() {
                self.at_end = true;
                return Poll::Ready(Ok(()));
            }
            if piece.len() == BUFFER && from.socket().is_some() && to.socket().is_some() {
                self.splices = SMALL_SPLICES;
            }
            self.flushed = false;
            while !piece.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, piece) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Destination(io::ErrorKind::WriteZero.into()))),
                    Poll::Ready(Ok(count)) => {
                        self.carried += count as u64;
                        piece = &piece[count..];
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Destination(error))),
                    Poll::Pending => {
                        self.waiting = Waiting::Copied(piece.into());
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Moves a piece into a pipe. Goes back to copying when there is no pipe, or the pieces are small.
    fn poll_splice<S: Side>(&mut self, cx: &mut Context<'_>, from: &S, pipes: &Pipes) -> Poll<Result<(), Fault>> {
        let socket = from.socket().expect("only between sockets is anything spliced");
        ready!(socket.poll_read_ready(cx)).map_err(Fault::Source)?;
        let Some(mut pipe) = pipes.take() else {
            self.splices = 0;
            return Poll::Ready(Ok(()));
        };
        match socket.try_io(Interest::READABLE, || pipe.fill_from(socket)) {
            Ok(0) => self.at_end = true,
            Ok(count) => {
                self.splices = match count {
                    0..SMALL => self.splices - 1,
                    _ => SMALL_SPLICES,
                };
                self.waiting = Waiting::Spliced(pipe);
            }
            // The next look for readiness waits.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(Fault::Source(error))),
        }
        Poll::Ready(Ok(()))
    }
}
