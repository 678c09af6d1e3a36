//! The transport of TCP and TLS drains, which knows what may have been lost when a connection breaks.
//!
//! ```text
//!              current            window (≤ 1 MiB, sent again if the connection breaks)
//! accepted ──▶ [write … flush] ──▶ [shipment][shipment][shipment] ──▶ Settled
//!                       Written ◀──┘ leaves when the peer's kernel has it, and it is 250 ms old or the window is full
//! ```
//!
//! The drain sends no answers over this protocol. Data that the peer's kernel has accepted, and its program has not
//! read, is lost if the program dies. A program gets 250 ms to read it. The connection is also read all the time, so
//! that its end is seen at once, and not only by a later write. A peer that closes its sending side counts as gone
//! (decision 0009).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout};

use crate::arrived::{Meter, MeteredStream};
use crate::connection::{Accepted, Outcome, TransportEnd, WindowPermit, finished};
use crate::dial::io_text;
use crate::secure::{Secure, peer};
use crate::{DrainUrl, Failure, Settings, Stage, Unsettled};

/// The shortest interval between two questions to the kernel about what has arrived.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// The shortest interval between two such questions while the window is full and the sender waits.
const POLL_INTERVAL_WHEN_FULL: Duration = Duration::from_millis(2);

/// The time limit for closing a connection in order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The facts about a connection that are needed beside its stream.
#[derive(Debug)]
pub(crate) struct Link {
    meter: Arc<Meter>,
    send_buffer: u64,
    secure: Option<Secure>,
    peer: String,
    write_timeout: Duration,
    settle_after: Duration,
    resend_window: u64,
}

impl Link {
    pub(crate) fn new(stream: &MeteredStream, secure: Option<Secure>, url: &DrainUrl, settings: &Settings) -> Self {
        Self {
            meter: stream.meter(),
            send_buffer: stream.send_buffer() as u64,
            secure,
            peer: peer(url),
            write_timeout: settings.write_timeout,
            settle_after: settings.settle_after,
            resend_window: settings.resend_window as u64,
        }
    }

    /// Returns the failure for the end of the connection; `error` is `None` if the drain closed it in order.
    fn failure(&self, error: Option<io::Error>) -> Failure {
        let peer = &self.peer;
        let Some(error) = error else {
            return Failure::new(Stage::Closed, format!("`{peer}` closed the connection")).hint(CLOSED_HINT);
        };
        // A TLS alert says more than the error of the connection that follows it.
        if let Some(explained) = self.secure.as_ref().and_then(|secure| secure.explain_wrapped(&error)) {
            return explained;
        }
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Failure::new(Stage::Closed, format!("`{peer}` reset the connection")).hint(CLOSED_HINT)
            }
            io::ErrorKind::UnexpectedEof => Failure::new(
                Stage::Closed,
                format!("`{peer}` closed the connection without a word of tls"),
            )
            .hint(CLOSED_HINT),
            io::ErrorKind::TimedOut => {
                Failure::new(Stage::Write, format!("`{peer}` does not acknowledge what is sent")).hint(SILENT_HINT)
            }
            _ => Failure::new(
                Stage::Write,
                format!("connection to `{peer}` broke: {}", io_text(&error)),
            ),
        }
    }

    /// Returns the failure for a drain that does not read.
    fn stalled(&self) -> Failure {
        let text = format!("`{}` has taken nothing for {:?}", self.peer, self.write_timeout);
        Failure::new(Stage::Write, text).hint("the drain does not read, or reads too slowly: look at it")
    }
}

const CLOSED_HINT: &str = "the drain's log should say why: it may be restarting, full, or not accept the format";
const SILENT_HINT: &str = "the drain's machine is gone, or the network between has swallowed the connection";

/// A shipment that was written and has to be sent again if the connection breaks.
#[derive(Debug)]
struct Written {
    sequence: u64,
    size: u64,
    /// The offset of the shipment's end in the bytes of the connection.
    end: u64,
    at: Instant,
    room: WindowPermit,
}

/// Runs a connection until it breaks, until the sender is dropped and everything is settled, or until the outcomes are
/// dropped.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(stream: S, link: Link, mut end: TransportEnd) {
    let mut pump = Pump::new(stream, Arc::clone(&link.meter));
    let mut window = Window::default();
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut more = true;
    loop {
        if !more && pump.current.is_none() && window.written.is_empty() {
            // Everything is settled, so a failure to close in order has no effect.
            _ = timeout(CLOSE_TIMEOUT, pump.stream.shutdown()).await;
            return end.close(finished());
        }
        let due = window.due(&link, &pump);
        if let Some(due) = due
            && timer.deadline() != due
        {
            timer.as_mut().reset(due);
        }
        tokio::select! {
            // The pump comes first, so that the end of the connection is seen before another shipment is accepted.
            biased;
            done = poll_fn(|cx| pump.poll(cx)) => match done {
                Ok(accepted) => {
                    end.reporter.report(Outcome::Written(accepted.shipment.sequence));
                    window.push(accepted, &link);
                }
                Err(error) => {
                    // Shipments that arrived since the last question to the kernel need not be sent again.
                    window.last_poll = None;
                    window.settle(&link, &pump, &end);
                    let unsettled = window.read_by_peer(&link, &pump, error.as_ref());
                    return end.close(link.failure(error).with_unsettled(unsettled));
                }
            },
            // One shipment at a time. The others wait in the channel, where the window bounds them.
            accepted = end.accepted.recv(), if more && pump.current.is_none() => match accepted {
                Some(accepted) => pump.start(accepted),
                None => more = false,
            },
            () = timer.as_mut(), if due.is_some() => {}
            () = end.reporter.abandoned() => return,
        }
        if pump.stalled(&link) {
            return end.close(link.stalled());
        }
        window.settle(&link, &pump, &end);
    }
}

/// Writes one shipment at a time, and reads and discards what the peer sends.
struct Pump<S> {
    stream: S,
    meter: Arc<Meter>,
    current: Option<(Accepted, Bytes)>,
    /// While a write waits: since when the kernel has accepted nothing, and how many bytes it had accepted by then.
    waiting: Option<(Instant, u64)>,
    buffer: Box<[u8]>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pump<S> {
    fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self {
            stream,
            meter,
            current: None,
            waiting: None,
            // Small, because a drain sends next to nothing on this protocol.
            buffer: vec![0; 512].into(),
        }
    }

    fn start(&mut self, accepted: Accepted) {
        let bytes = accepted.shipment.bytes.clone();
        self.current = Some((accepted, bytes));
        self.waiting = None;
    }

    /// Ready when the current shipment is written, or when the connection has ended. The error is `None` if the peer
    /// closed it in order.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Accepted, Option<io::Error>>> {
        // Read first: a socket can accept a write although the peer has closed the connection.
        if let Poll::Ready(end) = self.poll_read(cx) {
            return Poll::Ready(Err(end));
        }
        let Some((_, left)) = &mut self.current else {
            return Poll::Pending;
        };
        let result = loop {
            // A TLS stream keeps written data until it is flushed.
            if left.is_empty() {
                break Pin::new(&mut self.stream).poll_flush(cx);
            }
            match Pin::new(&mut self.stream).poll_write(cx, left) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => left.advance(count),
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        match result {
            Poll::Ready(Ok(())) => match self.current.take() {
                Some((accepted, _)) => Poll::Ready(Ok(accepted)),
                None => Poll::Pending,
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(Some(error))),
            Poll::Pending => {
                let taken = self.meter.written();
                // A write that waits has progressed if the kernel has accepted bytes of it, even without completing.
                if self.waiting.is_none_or(|(_, before)| before != taken) {
                    self.waiting = Some((Instant::now(), taken));
                }
                Poll::Pending
            }
        }
    }

    /// Ready when the peer has closed the connection. Received bytes are discarded, as the protocol has no answers.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Error>> {
        loop {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(None),
                Ok(()) => {}
                Err(error) => return Poll::Ready(Some(error)),
            }
        }
    }

    /// Whether a part of the current shipment has been written.
    fn has_begun(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|(accepted, left)| left.len() < accepted.shipment.bytes.len())
    }

    /// The time since which a write waits, if one does.
    fn blocked_since(&self) -> Option<Instant> {
        self.current.as_ref().and(self.waiting).map(|(since, _)| since)
    }

    fn stalled(&self, link: &Link) -> bool {
        self.blocked_since()
            .is_some_and(|since| since.elapsed() >= link.write_timeout)
    }
}

/// The shipments that are written and not settled.
#[derive(Debug, Default)]
struct Window {
    written: VecDeque<Written>,
    bytes: u64,
    last_poll: Option<Instant>,
    /// How many bytes the peer's kernel had at the last question.
    arrived: Option<u64>,
}

impl Window {
    fn push(&mut self, accepted: Accepted, link: &Link) {
        let size = accepted.shipment.bytes.len() as u64;
        self.bytes += size;
        self.written.push_back(Written {
            sequence: accepted.shipment.sequence,
            size,
            end: link.meter.written(),
            at: Instant::now(),
            room: accepted.room,
        });
    }

    fn is_full(&self, link: &Link) -> bool {
        self.bytes > link.resend_window
    }

    fn pause(&self, link: &Link) -> Duration {
        if self.is_full(link) {
            POLL_INTERVAL_WHEN_FULL
        } else {
            POLL_INTERVAL
        }
    }

    /// The next time at which a shipment may be settled or a write counts as stalled.
    fn due<S: AsyncRead + AsyncWrite + Unpin>(&self, link: &Link, pump: &Pump<S>) -> Option<Instant> {
        let stall = pump.blocked_since().map(|since| since + link.write_timeout);
        let settle = self.written.front().map(|first| {
            let next = self.last_poll.map_or(first.at, |last_poll| last_poll + POLL_INTERVAL);
            if self.bytes > link.resend_window {
                next
            } else {
                // With room in the window nothing waits for the shipment, so it is kept until its program has had time
                // to read it.
                next.max(first.at + link.settle_after)
            }
        });
        stall.into_iter().chain(settle).min()
    }

    /// Reports every shipment that can be settled.
    fn settle<S: AsyncRead + AsyncWrite + Unpin>(&mut self, link: &Link, pump: &Pump<S>, end: &TransportEnd) {
        while let Some(settled) = self.next_settled(link, pump) {
            end.reporter.finish(Outcome::Settled(settled.sequence), settled.room);
        }
    }

    /// Returns how much of the unsettled data the peer, which ended the connection, had read.
    fn read_by_peer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: &Link,
        pump: &Pump<S>,
        error: Option<&io::Error>,
    ) -> Unsettled {
        if self.written.is_empty() && !pump.has_begun() {
            return Unsettled::Nothing;
        }
        // Without an error, or without the end of TLS alone, the peer has closed the connection in order.
        let closed = error.is_none_or(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        let written = link.meter.written();
        let arrived = link.meter.arrived().unwrap_or(written);
        if closed && pump.current.is_none() && arrived >= written {
            Unsettled::Read
        } else {
            Unsettled::Unknown
        }
    }

    /// Removes and returns the oldest shipment if it can be settled.
    fn next_settled<S: AsyncRead + AsyncWrite + Unpin>(&mut self, link: &Link, pump: &Pump<S>) -> Option<Written> {
        let first = self.written.front()?;
        if !self.is_full(link) && first.at.elapsed() < link.settle_after {
            return None;
        }
        if self.arrived.is_none_or(|arrived| arrived < first.end) {
            let now = Instant::now();
            if self
                .last_poll
                .is_some_and(|last_poll| now < last_poll + self.pause(link))
            {
                return None;
            }
            self.last_poll = Some(now);
            self.arrived = Some(match link.meter.arrived() {
                Some(arrived) => arrived,
                // The kernel gives no answer. As long as a write waits, its send buffer may be full of data that has
                // not arrived.
                None if pump.blocked_since().is_some() => link.meter.written().saturating_sub(link.send_buffer),
                None => link.meter.written(),
            });
        }
        if self.arrived.is_none_or(|arrived| arrived < first.end) {
            return None;
        }
        let settled = self.written.pop_front()?;
        self.bytes -= settled.size;
        Some(settled)
    }
}

#[cfg(test)]
mod tests;
