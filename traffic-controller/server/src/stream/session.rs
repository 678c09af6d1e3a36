//! The stream of one client from the handshake to its end.
//!
//! One task does everything. It takes messages from the feed and writes their frames record by record. In between, and
//! while it waits for the socket, it reads what the client sends and keeps the connection alive. Nothing else uses the
//! socket, so it is known to the byte what was written when the stream ends, and the rest is counted as lost.
//!
//! A stream ends when the client closes it, disconnects, violates the protocol (close code 1002 or 1009), does not
//! answer a ping (1008), or does not accept a record in time (1000); when its token ends (1008); when a doppler refuses
//! its subscription (1013); or when the server stops (1000).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use weir_auth::{Caller, Ended};
use weir_flow::{Ledger, Reason};
use weir_rpc::subscriber::Refused;
use weir_service::{Shutdown, clock};

use super::filter::Filter;
use super::outgoing::{Arrival, Outgoing};
use super::reader::{Reader, Received};
use super::sender::{DeliveryObserver, Sender};
use crate::config::RawTimeouts;
use crate::websocket::frame::{Opcode, put_frame};
use crate::websocket::keepalive::{Due, Keepalive, KeepaliveTimes};
use crate::websocket::parser::{ControlPayload, Violation};

const PING_EXPIRED: &str = "Client did not respond to ping before keep-alive timeout expired.";

const REFUSED: &str = "a doppler has no room for this subscription";

/// How long a stream waits for its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When to send a ping, and how long to wait for the pong.
    pub(crate) keepalive: KeepaliveTimes,
    /// How long a client may take to accept a record before it counts as slow.
    pub(crate) slow_consumer: Duration,
    /// How long control frames may take, and the last frames of a stream that ends in order.
    pub(crate) write: Duration,
}

impl From<RawTimeouts> for Patience {
    fn from(timeouts: RawTimeouts) -> Self {
        Self {
            keepalive: KeepaliveTimes {
                interval: timeouts.ping_interval.get(),
                timeout: timeouts.pong.get(),
            },
            slow_consumer: timeouts.slow_consumer.get(),
            write: timeouts.write.get(),
        }
    }
}

/// How long the client may take to close its side after this side was closed.
const LINGER: Duration = Duration::from_secs(1);

/// A source of messages: a subscription, or a test.
pub(crate) trait Feed: Send {
    /// Waits for the next message. Returns an error if a doppler refuses the subscription. Must be cancel safe.
    fn next(&mut self) -> impl Future<Output = Result<Arrival, Refused>> + Send;

    /// Returns the next message if it has already arrived. An error is returned by the next call of [`Feed::next`].
    fn try_next(&mut self) -> Option<Arrival>;

    /// Ends the feed. What was taken and released is acknowledged upstream, and the rest is counted there.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The reason for which a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The client sent a close frame, with this code if it gave one.
    Closed(Option<u16>),
    /// The connection failed or ended without a close frame.
    Gone,
    /// The client sent something that the protocol forbids.
    Violated(Violation),
    /// The client did not answer a ping.
    Expired,
    /// The client did not accept a record in time.
    Slow,
    /// The token of the client ended.
    NotAllowed(Ended),
    /// A doppler refuses the subscription, so that the client would miss envelopes without knowing it.
    Refused(String),
    /// The server is stopping, and everything was sent.
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

    /// Returns the code and reason of the close frame, or `None` if nobody would read it.
    fn close(&self) -> Option<(u16, String)> {
        match self {
            Self::Gone => None,
            // The answer to a close frame repeats its code. A close frame without a code gets the original's answer.
            Self::Closed(Some(code)) => Some((*code, String::new())),
            Self::Violated(violation) => Some((violation.close_code(), String::new())),
            Self::Expired => Some((1008, PING_EXPIRED.to_owned())),
            // The original never checks a token again. Telling the client why is more useful than the original's code.
            Self::NotAllowed(why) => Some((1008, why.to_string())),
            // Code 1013 means "try again later". The reason must not contain internal addresses.
            Self::Refused(_) => Some((1013, REFUSED.to_owned())),
            Self::Closed(None) | Self::Slow | Self::Finished => Some((1000, String::new())),
        }
    }
}

/// The parts of a stream besides its connection.
#[derive(Debug)]
pub(crate) struct Stream<'s, B> {
    pub(crate) filter: Filter,
    pub(crate) patience: Patience,
    /// The stream ends when the token of this caller does.
    pub(crate) caller: &'s Caller,
    pub(crate) shutdown: &'s Shutdown,
    pub(crate) ledger: &'s Ledger,
    pub(crate) observer: &'s B,
}

impl<B: DeliveryObserver> Stream<'_, B> {
    /// Runs the stream on an upgraded connection until it ends. `early` is what the client sent right after its
    /// handshake.
    pub(crate) async fn run<S>(self, socket: S, early: &[u8], mut feed: impl Feed) -> End
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (read, write) = split(socket);
        let mut session = Session {
            reader: Reader::new(read, early),
            sender: Sender::new(write, Outgoing::new(self.filter), self.ledger, self.observer),
            keepalive: Keepalive::new(self.patience.keepalive, clock::instant()),
            pong: None,
            patience: self.patience,
        };
        // The end is sent before the subscription is closed, so that a client that reads gets what had arrived.
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
    /// The last unanswered ping. If there are several, answering the last one is enough (RFC 6455 §5.5.3).
    pong: Option<ControlPayload>,
    patience: Patience,
}

impl<S: AsyncRead + AsyncWrite + Send, B: DeliveryObserver> Session<'_, S, B> {
    /// Passes messages on until something ends the stream. Returns `Ok` if the server is stopping.
    async fn pump(&mut self, feed: &mut impl Feed, caller: &Caller, shutdown: &Shutdown) -> Result<(), End> {
        let ended = caller.ended();
        tokio::pin!(ended);
        loop {
            // Control frames first: under load, envelopes are always ready, and pings would never be answered.
            self.control().await?;
            let arrival = tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                // The token is checked between buffers only. A write that is stuck ends soon by its own deadline.
                why = &mut ended => return Err(End::NotAllowed(why)),
                received = self.reader.next() => {
                    self.on(received)?;
                    continue;
                }
                () = sleep_until(self.keepalive.deadline().into()) => continue,
                arrival = feed.next() => arrival.map_err(|refused| End::Refused(refused.to_string()))?,
            };
            self.sender.push(arrival);
            // Messages that have already arrived share records with the first one. Others are not waited for.
            while !self.sender.is_full()
                && let Some(arrival) = feed.try_next()
            {
                self.sender.push(arrival);
            }
            self.write_frames().await?;
        }
    }

    /// Sends pongs and pings. They go between buffers and before data.
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

    /// Writes the buffer, and what is converted into it in the meantime, until nothing is held.
    async fn write_frames(&mut self) -> Result<(), End> {
        loop {
            // Record by record, so that a ping of the client or its close frame is answered in the middle of a large
            // buffer.
            while !self.sender.is_done() {
                self.write_record().await?;
            }
            if self.sender.is_empty() {
                return Ok(());
            }
            self.control().await?;
        }
    }

    /// Writes one record within its deadline, and handles what the client sends in the meantime.
    async fn write_record(&mut self) -> Result<(), End> {
        let deadline = Instant::now() + self.patience.slow_consumer;
        loop {
            // The client is read during a write, or a client that only sends could block its own stream.
            let received = tokio::select! {
                biased;
                // If this write is interrupted, nothing is lost: the sender counts what the socket has accepted, and
                // continues there.
                written = timeout_at(deadline, self.sender.write_record()) => {
                    return match written {
                        Ok(Ok(())) => Ok(()),
                        Ok(Err(_)) => Err(End::Gone),
                        Err(_) => Err(End::Slow),
                    };
                }
                received = self.reader.next() => received,
            };
            self.on(received)?;
        }
    }

    fn on(&mut self, received: Received) -> Result<(), End> {
        match received {
            // Only the last ping is answered, as RFC 6455, section 5.5.3, allows. So pings cannot fill a queue.
            Received::Ping(payload) => self.pong = Some(payload),
            Received::Pong => self.keepalive.pong(clock::instant()),
            Received::Close(code) => return Err(End::Closed(code)),
            Received::Violation(violation) => return Err(End::Violated(violation)),
            Received::Gone => return Err(End::Gone),
        }
        Ok(())
    }

    /// Ends the stream in order as far as possible, and counts what the client did not get.
    async fn finish(&mut self, end: &End) {
        if let Some((code, reason)) = end.close() {
            self.close(end, code, &reason).await;
        }
        // After the close frame, so that frames that were still written count as delivered.
        self.sender.abandon(end.reason());
    }

    async fn close(&mut self, end: &End, code: u16, reason: &str) {
        // A slow client has had its time. It only gets a short chance to read the reason.
        let patience = if *end == End::Slow { LINGER } else { self.patience.write };
        let closing = timeout(patience, self.sender.close(code, reason, *end == End::Finished));
        // The client's data is read until the end. If a connection is closed with unread data, TCP resets it, and the
        // client loses frames that are still in flight.
        let reading = self.reader.until_end();
        tokio::pin!(closing, reading);
        tokio::select! {
            closed = &mut closing => {
                if matches!(closed, Ok(Ok(()))) {
                    // Whether the client closes its side makes no difference.
                    drop(timeout(LINGER, reading).await);
                }
            }
            // The client may have closed only its half of the connection.
            () = &mut reading => drop(closing.await),
        }
    }
}

#[cfg(test)]
mod tests;
