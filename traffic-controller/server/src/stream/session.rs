//! One client's stream from the handshake to its end.
//!
//! One task does everything: it takes parcels from the feed, writes their frames record by record, and in between, and
//! while it waits for the socket, reads what the client says and keeps the connection alive. Nobody else touches the
//! socket, so what was written is known to the byte when the stream ends, and what was not is counted.
//!
//! It ends when the client closes, vanishes, breaks the protocol (1002, 1009), does not answer a ping (1008) or does not
//! take a record in time (the slow-consumer rule, 1000), and when the server stops (1000).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use weir_flow::{Ledger, Parcel, Reason};
use weir_service::{Shutdown, clock};

use super::filter::Filter;
use super::outgoing::{Outgoing, Tally};
use super::reader::{Reader, Said};
use crate::websocket::frame::{Opcode, put_close, put_frame};
use crate::websocket::keepalive::{Due, Keepalive, KeepaliveTimes};
use crate::websocket::parser::{ControlPayload, Violation};

/// One TLS record. Written and flushed one at a time: a record that the kernel has not taken whole cannot be read by the
/// client, so what the client can have is known exactly.
const RECORD: usize = 16 << 10;

/// Where a loss on this side of the doppler is booked.
const HOP: &str = "egress";

const PING_EXPIRED: &str = "Client did not respond to ping before keep-alive timeout expired.";

/// How patient a stream is with its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When to ping and when to give up waiting for the pong.
    pub(crate) keepalive: KeepaliveTimes,
    /// How long a record may take before its client counts as slow.
    pub(crate) slow_consumer: Duration,
    /// How long control frames may take, and the last frames of a stream that ends in order.
    pub(crate) write: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            keepalive: KeepaliveTimes::default(),
            slow_consumer: Duration::from_secs(5),
            write: Duration::from_secs(6),
        }
    }
}

/// How long the client may take to close its side after ours is closed.
const LINGER: Duration = Duration::from_secs(1);

/// Where parcels come from: the subscription, or a test.
pub(crate) trait Feed: Send {
    /// Waits for the next parcel. Must be cancel safe.
    fn next(&mut self) -> impl Future<Output = Parcel> + Send;

    /// The next parcel, if it is there already.
    fn try_next(&mut self) -> Option<Parcel>;

    /// Ends the feed: everything that was taken from it and let go is told upstream, the rest is upstream's to count.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Whom to tell what came of the parcels.
pub(crate) trait Books: Send + Sync {
    /// Envelopes and frames that the client has.
    fn delivered(&self, tally: &Tally);
}

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The client sent a close frame, with this code if it gave one.
    Closed(Option<u16>),
    /// The connection broke or ended without a close frame.
    Gone,
    /// The client sent what it must not.
    Violated(Violation),
    /// No pong came.
    Expired,
    /// A record was not taken in time.
    Slow,
    /// There is nothing more to send: the server stops.
    Finished,
}

impl End {
    const fn reason(&self) -> Reason {
        match self {
            Self::Slow => Reason::SlowConsumer,
            Self::Finished => Reason::ShuttingDown,
            Self::Closed(_) | Self::Gone | Self::Violated(_) | Self::Expired => Reason::ConsumerGone,
        }
    }

    /// The close frame to send; `None` if nobody is there to read it.
    const fn close(&self) -> Option<(u16, &'static str)> {
        match self {
            Self::Gone => None,
            // An answer repeats the code; one without a code is answered as the original answers.
            Self::Closed(Some(code)) => Some((*code, "")),
            Self::Violated(violation) => Some((violation.close_code(), "")),
            Self::Expired => Some((1008, PING_EXPIRED)),
            Self::Closed(None) | Self::Slow | Self::Finished => Some((1000, "")),
        }
    }
}

/// What a stream runs by, beside its connection.
#[derive(Debug)]
pub(crate) struct Stream<'s, B> {
    pub(crate) filter: Filter,
    pub(crate) patience: Patience,
    pub(crate) shutdown: &'s Shutdown,
    pub(crate) ledger: &'s Ledger,
    pub(crate) books: &'s B,
}

impl<B: Books> Stream<'_, B> {
    /// Runs the stream over an upgraded connection until it ends; `early` is what the client sent behind its handshake.
    pub(crate) async fn run<S>(self, socket: S, early: &[u8], mut feed: impl Feed) -> End
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (read, write) = split(socket);
        let mut session = Session {
            reader: Reader::new(read, early),
            write,
            outgoing: Outgoing::new(self.filter),
            accepted: 0,
            flushed: 0,
            keepalive: Keepalive::new(self.patience.keepalive, clock::instant()),
            pong: None,
            patience: self.patience,
            ledger: self.ledger,
            books: self.books,
        };
        let end = match session.pump(&mut feed, self.shutdown).await {
            Ok(()) => End::Finished,
            Err(end) => end,
        };
        session.finish(&end).await;
        feed.close().await;
        end
    }
}

struct Session<'s, S, B> {
    reader: Reader<ReadHalf<S>>,
    write: WriteHalf<S>,
    outgoing: Outgoing,
    /// How much of the buffer TLS has taken, and how much of that the kernel has.
    accepted: usize,
    flushed: usize,
    keepalive: Keepalive,
    /// The last ping that is not answered yet; of several, answering the last is enough (RFC 6455, section 5.5.3).
    pong: Option<ControlPayload>,
    patience: Patience,
    ledger: &'s Ledger,
    books: &'s B,
}

impl<S: AsyncRead + AsyncWrite + Send, B: Books> Session<'_, S, B> {
    /// Moves parcels until something ends the stream; `Ok` if that is the server.
    async fn pump(&mut self, feed: &mut impl Feed, shutdown: &Shutdown) -> Result<(), End> {
        loop {
            self.control().await?;
            let parcel = tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                said = self.reader.next() => {
                    self.on(said)?;
                    continue;
                }
                () = sleep_until(self.keepalive.deadline().into()) => continue,
                parcel = feed.next() => parcel,
            };
            self.outgoing.push(parcel);
            // What else is there goes along in the same records; what is not there is not waited for.
            while !self.outgoing.is_full()
                && let Some(parcel) = feed.try_next()
            {
                self.outgoing.push(parcel);
            }
            self.write_frames().await?;
        }
    }

    /// Sends what keeps the connection alive: between buffers, ahead of data.
    async fn control(&mut self) -> Result<(), End> {
        let mut frames = Vec::new();
        if let Some(pong) = self.pong.take() {
            put_frame(&mut frames, Opcode::Pong, pong.as_bytes());
        }
        match self.keepalive.due(clock::instant()) {
            Due::Ping => put_frame(&mut frames, Opcode::Ping, &[]),
            Due::Expired => return Err(End::Expired),
            Due::Nothing => {}
        }
        if frames.is_empty() {
            return Ok(());
        }
        let written = timeout(self.patience.write, async {
            self.write.write_all(&frames).await?;
            self.write.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    /// Writes the buffer, and what is converted into it meanwhile, until nothing is held any more.
    async fn write_frames(&mut self) -> Result<(), End> {
        loop {
            self.book_findings();
            if self.outgoing.buffer().is_empty() {
                // Nothing of it was for this client, but the parcels are done with.
                self.outgoing.written();
                return Ok(());
            }
            self.write_buffer().await?;
            self.buffer_is_written();
            self.control().await?;
        }
    }

    async fn write_buffer(&mut self) -> Result<(), End> {
        let len = self.outgoing.buffer().len();
        while self.flushed < len {
            let deadline = Instant::now() + self.patience.slow_consumer;
            let end = len.min(self.flushed + RECORD);
            loop {
                let record = &self.outgoing.buffer()[..end];
                let written = async {
                    while self.accepted < end {
                        match self.write.write(&record[self.accepted..]).await? {
                            0 => return Err(std::io::ErrorKind::WriteZero.into()),
                            accepted => self.accepted += accepted,
                        }
                    }
                    self.write.flush().await
                };
                let said = tokio::select! {
                    biased;
                    written = timeout_at(deadline, written) => match written {
                        Ok(Ok(())) => break,
                        Ok(Err(_)) => return Err(End::Gone),
                        Err(_) => return Err(End::Slow),
                    },
                    said = self.reader.next() => said,
                };
                self.on(said)?;
            }
            self.flushed = end;
        }
        Ok(())
    }

    fn buffer_is_written(&mut self) {
        let tally = self.outgoing.written();
        (self.accepted, self.flushed) = (0, 0);
        self.book_delivered(&tally);
    }

    fn book_delivered(&self, tally: &Tally) {
        self.books.delivered(tally);
        self.ledger.sent(tally.envelopes);
    }

    fn book_findings(&mut self) {
        let findings = self.outgoing.take_findings();
        self.ledger.received(findings.received);
        self.ledger.lost(HOP, Reason::Unconvertible, &findings.unconvertible);
    }

    fn on(&mut self, said: Said) -> Result<(), End> {
        match said {
            Said::Ping(payload) => self.pong = Some(payload),
            Said::Pong => self.keepalive.pong(clock::instant()),
            Said::Close(code) => return Err(End::Closed(code)),
            Said::Violation(violation) => return Err(End::Violated(violation)),
            Said::Gone => return Err(End::Gone),
        }
        Ok(())
    }

    /// Ends the stream in order as far as that is possible, then counts what the client did not get.
    async fn finish(&mut self, end: &End) {
        if let Some((code, reason)) = end.close() {
            let patience = if *end == End::Slow { LINGER } else { self.patience.write };
            let closing = self.close(code, reason, *end == End::Finished);
            let in_time = timeout(patience, closing).await;
            if matches!(in_time, Ok(Ok(()))) && !matches!(end, End::Slow) {
                let linger = async {
                    self.write.shutdown().await?;
                    self.reader.until_end().await;
                    std::io::Result::Ok(())
                };
                // The client closes, or it does not: nothing follows from it.
                drop(timeout(LINGER, linger).await);
            }
        }
        let (tally, losses) = self.outgoing.abandon(self.flushed);
        self.book_findings();
        self.book_delivered(&tally);
        self.ledger.lost(HOP, end.reason(), &losses);
    }

    /// Completes the frame that was begun, or (`all`) everything that is held, and sends a close frame.
    async fn close(&mut self, code: u16, reason: &str, all: bool) -> std::io::Result<()> {
        let mut close = Vec::new();
        put_close(&mut close, code, reason);
        // A record that was cut short comes first: once it is through, its frames are delivered.
        self.write.flush().await?;
        self.flushed = self.accepted;
        loop {
            let end = if all {
                self.outgoing.buffer().len()
            } else {
                self.outgoing.frame_end(self.accepted)
            };
            while self.accepted < end {
                match self.write.write(&self.outgoing.buffer()[self.accepted..end]).await? {
                    0 => return Err(std::io::ErrorKind::WriteZero.into()),
                    accepted => self.accepted += accepted,
                }
            }
            self.write.flush().await?;
            self.flushed = self.accepted;
            if !all || self.outgoing.buffer().is_empty() {
                break;
            }
            self.buffer_is_written();
        }
        self.write.write_all(&close).await?;
        self.write.flush().await
    }
}

#[cfg(test)]
mod tests;
