//! The writing half of a stream: it writes frames to the socket and counts them.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use weir_flow::{Ledger, Reason};

use super::outgoing::{Arrival, Outgoing, Tally};
use crate::websocket::frame::put_close;

/// The size in bytes of a TLS record. Records are written and flushed one at a time: the client cannot read a record
/// that the kernel has not accepted completely, so it is known exactly what the client can have.
const RECORD: usize = 16 << 10;

/// The hop at which losses of this component are counted.
const HOP: &str = "egress";

/// An observer of deliveries, besides the ledger.
pub(crate) trait DeliveryObserver: Send + Sync {
    /// Called with the envelopes and frames that the client has received.
    fn delivered(&self, tally: &Tally);
}

/// Writes frames and knows to the byte how much was written.
#[derive(Debug)]
pub(super) struct Sender<'s, W, B> {
    write: W,
    outgoing: Outgoing,
    /// How many bytes of the buffer TLS has accepted, and how many of these the kernel has.
    accepted: usize,
    flushed: usize,
    ledger: &'s Ledger,
    observer: &'s B,
}

impl<'s, W: AsyncWrite + Unpin, B: DeliveryObserver> Sender<'s, W, B> {
    pub(super) const fn new(write: W, outgoing: Outgoing, ledger: &'s Ledger, observer: &'s B) -> Self {
        Self {
            write,
            outgoing,
            accepted: 0,
            flushed: 0,
            ledger,
            observer,
        }
    }

    /// Adds a message.
    pub(super) fn push(&mut self, arrival: Arrival) {
        self.outgoing.push(arrival);
    }

    /// Returns whether the buffer should be written before more messages are added.
    pub(super) fn is_full(&self) -> bool {
        self.outgoing.is_full()
    }

    /// Counts what was found in the messages. Returns whether the whole buffer is in the socket, and makes room if so.
    pub(super) fn is_done(&mut self) -> bool {
        self.count_findings();
        let done = self.flushed == self.outgoing.buffer().len();
        // The buffer is cleared only when all of it was flushed, because its receipts stand for all of it.
        if done {
            let tally = self.outgoing.written();
            (self.accepted, self.flushed) = (0, 0);
            self.count_delivered(&tally);
        }
        done
    }

    /// Returns whether the buffer is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.outgoing.buffer().is_empty()
    }

    /// Writes the next record. Cancel safe: the next call continues where this one stopped.
    pub(super) async fn write_record(&mut self) -> io::Result<()> {
        // One TLS record at a time: a larger write would be split by TLS, and could not be interrupted between records.
        let end = self.outgoing.buffer().len().min(self.flushed + RECORD);
        self.write_to(end).await
    }

    /// Sends control frames. They go between buffers and before data.
    pub(super) async fn control(&mut self, frames: &[u8]) -> io::Result<()> {
        self.write.write_all(frames).await?;
        self.write.flush().await
    }

    /// Completes the current frame, or with `all` writes everything that is held. Then sends a close frame and closes
    /// this half of the connection.
    pub(super) async fn close(&mut self, code: u16, reason: &str, all: bool) -> io::Result<()> {
        // An interrupted record is flushed first. Once it is through, its frames are delivered.
        self.write.flush().await?;
        self.flushed = self.accepted;
        if all {
            while !self.is_empty() {
                while !self.is_done() {
                    self.write_record().await?;
                }
            }
        } else {
            // A client must not get half a frame before the close frame, so the frame that was begun is completed.
            self.write_to(self.outgoing.frame_end(self.accepted)).await?;
        }
        let mut close = Vec::new();
        put_close(&mut close, code, reason);
        self.control(&close).await?;
        self.write.shutdown().await
    }

    /// Counts what the client has received of the buffer and the messages, counts the rest as lost, and releases all of
    /// it.
    pub(super) fn abandon(&mut self, reason: Reason) {
        let (tally, losses) = self.outgoing.abandon(self.flushed);
        self.count_findings();
        self.count_delivered(&tally);
        self.ledger.lost(HOP, reason, &losses);
    }

    async fn write_to(&mut self, end: usize) -> io::Result<()> {
        while self.accepted < end {
            match self.write.write(&self.outgoing.buffer()[self.accepted..end]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                accepted => self.accepted += accepted,
            }
        }
        // Only what was flushed counts as delivered. TLS may buffer what `write` has accepted.
        self.write.flush().await?;
        self.flushed = self.accepted;
        Ok(())
    }

    fn count_delivered(&self, tally: &Tally) {
        self.observer.delivered(tally);
        self.ledger.sent(tally.envelopes);
    }

    fn count_findings(&mut self) {
        let findings = self.outgoing.take_findings();
        if findings.received == 0 {
            return;
        }
        self.ledger.received(findings.received);
        self.ledger.lost(HOP, Reason::Unconvertible, &findings.unconvertible);
    }
}
