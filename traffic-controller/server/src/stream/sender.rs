//! The writing half of a stream: frames into the socket, and the books about them.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use weir_flow::{Ledger, Reason};

use super::outgoing::{Arrival, Outgoing, Tally};
use crate::websocket::frame::put_close;

/// One TLS record. Written and flushed one at a time: a record that the kernel has not taken whole cannot be read by the
/// client, so what the client can have is known exactly.
const RECORD: usize = 16 << 10;

/// Where a loss on this side of the doppler is booked.
const HOP: &str = "egress";

/// Whom to tell what came of the messages, beside the ledger.
pub(crate) trait Books: Send + Sync {
    /// Envelopes and frames that the client has.
    fn delivered(&self, tally: &Tally);
}

/// Writes frames, and knows to the byte how far it got.
#[derive(Debug)]
pub(super) struct Sender<'s, W, B> {
    write: W,
    outgoing: Outgoing,
    /// How much of the buffer TLS has taken, and how much of that the kernel has.
    accepted: usize,
    flushed: usize,
    ledger: &'s Ledger,
    books: &'s B,
}

impl<'s, W: AsyncWrite + Unpin, B: Books> Sender<'s, W, B> {
    pub(super) const fn new(write: W, outgoing: Outgoing, ledger: &'s Ledger, books: &'s B) -> Self {
        Self {
            write,
            outgoing,
            accepted: 0,
            flushed: 0,
            ledger,
            books,
        }
    }

    /// Takes a message in.
    pub(super) fn push(&mut self, arrival: Arrival) {
        self.outgoing.push(arrival);
    }

    /// Whether what is held should be written before more is taken in.
    pub(super) fn is_full(&self) -> bool {
        self.outgoing.is_full()
    }

    /// Books what was found in the messages; returns whether the whole buffer lies in the socket, and makes room then.
    pub(super) fn is_done(&mut self) -> bool {
        self.book_findings();
        let done = self.flushed == self.outgoing.buffer().len();
        if done {
            let tally = self.outgoing.written();
            (self.accepted, self.flushed) = (0, 0);
            self.book_delivered(&tally);
        }
        done
    }

    /// Whether nothing is held any more.
    pub(super) fn is_empty(&self) -> bool {
        self.outgoing.buffer().is_empty()
    }

    /// Writes the next record. Cancel safe: called again, it goes on where it was.
    pub(super) async fn write_record(&mut self) -> io::Result<()> {
        let end = self.outgoing.buffer().len().min(self.flushed + RECORD);
        self.write_to(end).await
    }

    /// Sends control frames: between buffers, ahead of data.
    pub(super) async fn control(&mut self, frames: &[u8]) -> io::Result<()> {
        self.write.write_all(frames).await?;
        self.write.flush().await
    }

    /// Completes the frame that was begun, or (`all`) everything that is held, sends a close frame, and closes this half
    /// of the connection.
    pub(super) async fn close(&mut self, code: u16, reason: &str, all: bool) -> io::Result<()> {
        // A record that was cut short comes first: once it is through, its frames are delivered.
        self.write.flush().await?;
        self.flushed = self.accepted;
        if all {
            while !self.is_empty() {
                while !self.is_done() {
                    self.write_record().await?;
                }
            }
        } else {
            self.write_to(self.outgoing.frame_end(self.accepted)).await?;
        }
        let mut close = Vec::new();
        put_close(&mut close, code, reason);
        self.control(&close).await?;
        self.write.shutdown().await
    }

    /// Counts what the client has of what is held, and the rest as lost; lets go of all of it.
    pub(super) fn abandon(&mut self, reason: Reason) {
        let (tally, losses) = self.outgoing.abandon(self.flushed);
        self.book_findings();
        self.book_delivered(&tally);
        self.ledger.lost(HOP, reason, &losses);
    }

    async fn write_to(&mut self, end: usize) -> io::Result<()> {
        while self.accepted < end {
            match self.write.write(&self.outgoing.buffer()[self.accepted..end]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                accepted => self.accepted += accepted,
            }
        }
        self.write.flush().await?;
        self.flushed = self.accepted;
        Ok(())
    }

    fn book_delivered(&self, tally: &Tally) {
        self.books.delivered(tally);
        self.ledger.sent(tally.envelopes);
    }

    fn book_findings(&mut self) {
        let findings = self.outgoing.take_findings();
        if findings.received == 0 {
            return;
        }
        self.ledger.received(findings.received);
        self.ledger.lost(HOP, Reason::Unconvertible, &findings.unconvertible);
    }
}
