//! The connection of one sender: turns its bytes into messages, and the messages into envelopes.
//!
//! The messages of one read become one chunk for the outbox, and the next read waits until the outbox has room for it.
//! So a sender is read as fast as the log cache stores, and the memory of a connection is bounded by the longest
//! message and one read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use weir_envelope::wire::{field_len, put_head};
use weir_flow::{Ledger, Reason};
use weir_net::Place;
use weir_service::{Clock, Shutdown};
use weir_syslog::Framing;
use weir_syslog::decode::{Decoder, Fault, Item};
use weir_syslog::envelope::{Mapper, Refused};

use crate::outbox::Outbox;

/// The hop at which messages that do not become envelopes are counted.
pub(crate) const INGRESS: &str = "ingress";

/// The size of one read, in bytes.
const READ_SIZE: usize = 32 << 10;

/// How long a sender must be silent before a stopping server closes its connection.
const SILENCE_BEFORE_CLOSE: Duration = Duration::from_millis(50);

/// How long a stopping server reads from a sender at most.
const FINAL_READ_LIMIT: Duration = Duration::from_secs(1);

/// The time limit for closing a connection in order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The interval at which bad messages are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The number of the field of `EnvelopeBatch` that holds an envelope.
const ENVELOPE: u32 = 1;

/// The state that all connections share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) framing: Framing,
    pub(crate) max_message: usize,
    pub(crate) max_batch: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) outbox: Outbox,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Clock,
    pub(crate) shutdown: Shutdown,
}

/// A connection, with the bytes and envelopes that it holds.
#[derive(Debug)]
pub(crate) struct Connection {
    shared: Shared,
    peer: SocketAddr,
    place: Place,
    decoder: Decoder,
    mapper: Mapper,
    /// The bytes that were read and are not a complete message yet.
    held: BytesMut,
    /// The encoded `EnvelopeBatch.batch` fields that are not in the outbox yet.
    batch: Vec<u8>,
    envelopes: usize,
    /// A buffer for one envelope.
    envelope: Vec<u8>,
    /// The time until which the sender is read although the server stops.
    until: Option<Instant>,
}

/// The result of a read.
enum Event {
    Bytes,
    /// The stream ended; `clean` says whether the sender closed it in order.
    End {
        clean: bool,
    },
    /// The server ends the connection.
    Stop,
}

impl Connection {
    pub(crate) fn new(shared: Shared, peer: SocketAddr, place: Place) -> Self {
        Self {
            decoder: Decoder::new(shared.framing, shared.max_message),
            mapper: Mapper::new(),
            held: BytesMut::new(),
            batch: Vec::new(),
            envelopes: 0,
            envelope: Vec::new(),
            until: None,
            shared,
            peer,
            place,
        }
    }

    /// Reads messages until the sender ends the connection, is idle for too long, or is silent while the server stops.
    pub(crate) async fn run(mut self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        loop {
            match self.read(&mut stream).await {
                Event::Bytes => {
                    let _under_way = self.place.begin();
                    self.take().await;
                }
                Event::End { clean } => {
                    self.finish(clean).await;
                    break;
                }
                // The sender has to send an unfinished message again, and so it is not counted as lost.
                Event::Stop => break,
            }
            if self.decoder.is_lost() {
                weir_service::limited!(
                    warn,
                    weir_service::EACH_SECOND,
                    peer = %self.peer,
                    "sender does not count octets, the connection is closed"
                );
                break;
            }
        }
        // The sender may be gone, so a failure to close in order has no effect.
        drop(timeout(CLOSE_TIMEOUT, stream.shutdown()).await);
    }

    async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Event {
        self.held.reserve(READ_SIZE);
        let (shared, held) = (&self.shared, &mut self.held);
        let read = timeout(shared.idle_timeout, stream.read_buf(held));
        if let Some(read) = shared.shutdown.unless_requested(read).await {
            return event(read).unwrap_or_else(|| {
                tracing::debug!(peer = %self.peer, "sender was idle for too long");
                Event::End { clean: false }
            });
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + FINAL_READ_LIMIT);
        if Instant::now() >= until {
            return Event::Stop;
        }
        event(timeout(SILENCE_BEFORE_CLOSE, stream.read_buf(held)).await).unwrap_or(Event::Stop)
    }

    /// Converts the complete messages among the bytes that were read.
    async fn take(&mut self) {
        let now = self.shared.clock.now_nanos();
        let bytes = std::mem::take(&mut self.held);
        let mut rest: &[u8] = &bytes;
        while let Some(item) = self.decoder.next(&mut rest) {
            self.item(item, now);
            if self.envelopes == self.shared.max_batch {
                self.put_batch().await;
            }
        }
        self.put_batch().await;
        // The start of an incomplete message stays in the buffer, and the next read appends to it.
        let left = rest.len();
        self.held = bytes;
        self.held.advance(self.held.len() - left);
    }

    /// Handles the end of the stream, at which the last message may be incomplete.
    async fn finish(&mut self, clean: bool) {
        let now = self.shared.clock.now_nanos();
        let bytes = std::mem::take(&mut self.held);
        if let Some(item) = self.decoder.finish(&bytes, clean) {
            self.item(item, now);
        }
        self.put_batch().await;
    }

    #[inline]
    fn item(&mut self, item: Item<'_>, now: i64) {
        match item {
            Item::Message(message) => match self.mapper.map(message, now, &mut self.envelope) {
                Ok(()) => {
                    self.batch.reserve(field_len(ENVELOPE, self.envelope.len()));
                    put_head(&mut self.batch, ENVELOPE, self.envelope.len());
                    self.batch.extend_from_slice(&self.envelope);
                    self.envelope.clear();
                    self.envelopes += 1;
                }
                Err(refused) => self.refuse(message, refused),
            },
            Item::Fault(fault) => self.fault(fault),
        }
    }

    #[cold]
    fn refuse(&self, message: &[u8], refused: Refused) {
        let reason = match refused {
            Refused::Malformed(_) => Reason::Malformed,
            Refused::Unmappable(_) => Reason::Unconvertible,
        };
        // The source id is read if possible, so that the loss is counted for its source.
        let source = weir_syslog::read::parse(message)
            .ok()
            .and_then(|message| message.header.app_name);
        self.lost(reason, source.unwrap_or_default(), &refused);
    }

    #[cold]
    fn fault(&self, fault: Fault) {
        let reason = match fault {
            Fault::TooLong => Reason::TooLarge,
            Fault::Framing | Fault::Truncated => Reason::Malformed,
        };
        self.lost(reason, "", &fault);
    }

    fn lost(&self, reason: Reason, source_id: &str, error: &dyn std::error::Error) {
        self.shared.ledger.received(1);
        self.shared.ledger.dropped(INGRESS, reason, source_id, 1);
        weir_service::limited!(
            warn,
            LOG_INTERVAL,
            peer = %self.peer,
            source_id,
            %reason,
            error = %error,
            "message is dropped"
        );
    }

    async fn put_batch(&mut self) {
        if self.envelopes > 0 {
            let envelopes = std::mem::take(&mut self.envelopes);
            self.shared.ledger.received(envelopes as u64);
            let batch = std::mem::take(&mut self.batch);
            self.shared.outbox.put(batch, envelopes).await;
        }
    }
}

/// Returns the result of a read; `None` if it timed out.
fn event(read: Result<io::Result<usize>, Elapsed>) -> Option<Event> {
    match read.ok()? {
        Ok(0) => Some(Event::End { clean: true }),
        Ok(_) => Some(Event::Bytes),
        // This includes a sender that closes the connection without ending its TLS session.
        Err(_) => Some(Event::End { clean: false }),
    }
}
