//! One client's stream from the handshake to its end.
//!
//! One task does everything: it takes messages from the feed, writes their frames record by record, and in between, and
//! while it waits for the socket, reads what the client says and keeps the connection alive. Nobody else touches the
//! socket, so what was written is known to the byte when the stream ends, and what was not is counted.
//!
//! It ends when the client closes, vanishes, breaks the protocol (1002, 1009), does not answer a ping (1008) or does not
//! take a record in time (the slow-consumer rule, 1000), when a doppler refuses its subscription (1013), and when the server
//! stops (1000).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use weir_auth::{Caller, Ended};
use weir_flow::{Ledger, Reason};
use weir_rpc::subscriber::Refused;
use weir_service::{Shutdown, clock};

use super::filter::Filter;
use super::outgoing::{Arrival, Outgoing};
use super::reader::{Reader, Said};
use super::sender::{Books, Sender};
use crate::websocket::frame::{Opcode, put_frame};
use crate::websocket::keepalive::{Due, Keepalive, KeepaliveTimes};
use crate::websocket::parser::{ControlPayload, Violation};

const PING_EXPIRED: &str = "Client did not respond to ping before keep-alive timeout expired.";

const REFUSED: &str = "a doppler has no room for this subscription";

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

/// Where messages come from: the subscription, or a test.
pub(crate) trait Feed: Send {
    /// Waits for the next message; an error if a doppler does not take the subscription. Must be cancel safe.
    fn next(&mut self) -> impl Future<Output = Result<Arrival, Refused>> + Send;

    /// The next message, if it is there already. An error waits for [`Feed::next`].
    fn try_next(&mut self) -> Option<Arrival>;

    /// Ends the feed: everything that was taken from it and let go is told upstream, the rest is upstream's to count.
    fn close(self) -> impl Future<Output = ()> + Send;
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
    /// The client's token ended.
    NotAllowed(Ended),
    /// A doppler does not take the subscription: the client would miss a part without knowing.
    Refused(String),
    /// There is nothing more to send: the server stops.
    Finished,
}

impl End {
    const fn reason(&self) -> Reason {
        match self {
            Self::Slow => Reason::SlowConsumer,
            Self::Finished => Reason::ShuttingDown,
            Self::Closed(_)
            | Self::Gone
            | Self::Violated(_)
            | Self::Expired
            | Self::NotAllowed(_)
            | Self::Refused(_) => Reason::ConsumerGone,
        }
    }

    /// The close frame to send; `None` if nobody is there to read it.
    fn close(&self) -> Option<(u16, String)> {
        match self {
            Self::Gone => None,
            // An answer repeats the code; one without a code is answered as the original answers.
            Self::Closed(Some(code)) => Some((*code, String::new())),
            Self::Violated(violation) => Some((violation.close_code(), String::new())),
            Self::Expired => Some((1008, PING_EXPIRED.to_owned())),
            // The original never looks at a token again; to say why is worth more than its code.
            Self::NotAllowed(why) => Some((1008, why.to_string())),
            // Try again later (RFC 6455 registry); the reason names no address of the inside.
            Self::Refused(_) => Some((1013, REFUSED.to_owned())),
            Self::Closed(None) | Self::Slow | Self::Finished => Some((1000, String::new())),
        }
    }
}

/// What a stream runs by, beside its connection.
#[derive(Debug)]
pub(crate) struct Stream<'s, B> {
    pub(crate) filter: Filter,
    pub(crate) patience: Patience,
    /// The stream ends when its rights do.
    pub(crate) caller: &'s Caller,
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
            sender: Sender::new(write, Outgoing::new(self.filter), self.ledger, self.books),
            keepalive: Keepalive::new(self.patience.keepalive, clock::instant()),
            pong: None,
            patience: self.patience,
        };
        let end = match session.pump(&mut feed, self.caller, self.shutdown).await {
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
    sender: Sender<'s, WriteHalf<S>, B>,
    keepalive: Keepalive,
    /// The last ping that is not answered yet; of several, answering the last is enough (RFC 6455, section 5.5.3).
    pong: Option<ControlPayload>,
    patience: Patience,
}

impl<S: AsyncRead + AsyncWrite + Send, B: Books> Session<'_, S, B> {
    /// Moves messages until something ends the stream; `Ok` if that is the server.
    async fn pump(&mut self, feed: &mut impl Feed, caller: &Caller, shutdown: &Shutdown) -> Result<(), End> {
        let ended = caller.ended();
        tokio::pin!(ended);
        loop {
            self.control().await?;
            let arrival = tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                // Between buffers: a write that is stuck ends by itself before long.
                why = &mut ended => return Err(End::NotAllowed(why)),
                said = self.reader.next() => {
                    self.on(said)?;
                    continue;
                }
                () = sleep_until(self.keepalive.deadline().into()) => continue,
                arrival = feed.next() => arrival.map_err(|refused| End::Refused(refused.to_string()))?,
            };
            self.sender.push(arrival);
            // What else is there goes along in the same records; what is not there is not waited for.
            while !self.sender.is_full()
                && let Some(arrival) = feed.try_next()
            {
                self.sender.push(arrival);
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
        match timeout(self.patience.write, self.sender.control(&frames)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    /// Writes the buffer, and what is converted into it meanwhile, until nothing is held any more.
    async fn write_frames(&mut self) -> Result<(), End> {
        loop {
            while !self.sender.is_done() {
                self.write_record().await?;
            }
            if self.sender.is_empty() {
                return Ok(());
            }
            self.control().await?;
        }
    }

    /// Writes a record, within the patience for it, and hears what the client says meanwhile.
    async fn write_record(&mut self) -> Result<(), End> {
        let deadline = Instant::now() + self.patience.slow_consumer;
        loop {
            let said = tokio::select! {
                biased;
                written = timeout_at(deadline, self.sender.write_record()) => {
                    return match written {
                        Ok(Ok(())) => Ok(()),
                        Ok(Err(_)) => Err(End::Gone),
                        Err(_) => Err(End::Slow),
                    };
                }
                said = self.reader.next() => said,
            };
            self.on(said)?;
        }
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
            self.close(end, code, &reason).await;
        }
        self.sender.abandon(end.reason());
    }

    async fn close(&mut self, end: &End, code: u16, reason: &str) {
        let patience = if *end == End::Slow { LINGER } else { self.patience.write };
        let closing = timeout(patience, self.sender.close(code, reason, *end == End::Finished));
        // What the client says is still read: a connection that is closed with something unread is reset, and the client
        // loses what is on its way.
        let reading = self.reader.until_end();
        tokio::pin!(closing, reading);
        tokio::select! {
            closed = &mut closing => {
                if matches!(closed, Ok(Ok(()))) {
                    // The client closes its side, or it does not: nothing follows from it.
                    drop(timeout(LINGER, reading).await);
                }
            }
            // It may have closed only its half.
            () = &mut reading => drop(closing.await),
        }
    }
}

#[cfg(test)]
mod tests;
