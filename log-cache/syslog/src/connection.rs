//! One sender's connection: bytes to messages to envelopes.
//!
//! What one read brought becomes one chunk for the outbox; the next read waits until that has room. So a sender is read as
//! fast as the log cache takes, and what the connection holds is bounded by the longest message and one read.

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

/// Where messages that are no envelope's are booked.
pub(crate) const INGRESS: &str = "ingress";

/// Bytes that one read may bring.
const READ: usize = 32 << 10;

/// When the server stops, a sender is read until it is silent for so long.
const SILENCE: Duration = Duration::from_millis(50);

/// And no longer than this, however much it has to say.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a sender has to take note that the connection ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// Bad messages are told this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The field of a batch that is an envelope.
const ENVELOPE: u32 = 1;

/// What all connections share.
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

/// A connection and what it has read.
#[derive(Debug)]
pub(crate) struct Connection {
    shared: Shared,
    peer: SocketAddr,
    place: Place,
    decoder: Decoder,
    mapper: Mapper,
    /// What was read and is no whole message yet.
    held: BytesMut,
    /// Encoded `EnvelopeBatch.batch` fields that are not in the outbox yet.
    batch: Vec<u8>,
    envelopes: usize,
    /// The last envelope.
    envelope: Vec<u8>,
    /// Until when the sender is read although the server stops.
    until: Option<Instant>,
}

/// What a read came to.
enum Event {
    Bytes,
    /// The stream ended, in order if `clean`.
    End {
        clean: bool,
    },
    /// We end it.
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

    /// Takes everything that the sender sends, until it ends, is idle for too long, or the server stops and the sender
    /// is silent.
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
                // A message that has begun is the sender's to send again.
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
        // Says that this is the end, if anybody listens.
        drop(timeout(GOODBYE, stream.shutdown()).await);
    }

    async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Event {
        self.held.reserve(READ);
        let (shared, held) = (&self.shared, &mut self.held);
        let read = timeout(shared.idle_timeout, stream.read_buf(held));
        if let Some(read) = shared.shutdown.unless_requested(read).await {
            return event(read).unwrap_or_else(|| {
                tracing::debug!(peer = %self.peer, "sender was idle for too long");
                Event::End { clean: false }
            });
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + LAST_WORDS);
        if Instant::now() >= until {
            return Event::Stop;
        }
        event(timeout(SILENCE, stream.read_buf(held)).await).unwrap_or(Event::Stop)
    }

    /// Takes the messages that are whole by now.
    async fn take(&mut self) {
        let now = self.shared.clock.now_nanos();
        let bytes = std::mem::take(&mut self.held);
        let mut rest: &[u8] = &bytes;
        while let Some(item) = self.decoder.next(&mut rest) {
            self.item(item, now);
            if self.envelopes == self.shared.max_batch {
                self.hand_over().await;
            }
        }
        self.hand_over().await;
        // The start of a message goes before what is read next.
        let left = rest.len();
        self.held = bytes;
        self.held.advance(self.held.len() - left);
    }

    /// The stream ended: so does what it had begun.
    async fn finish(&mut self, clean: bool) {
        let now = self.shared.clock.now_nanos();
        let bytes = std::mem::take(&mut self.held);
        if let Some(item) = self.decoder.finish(&bytes, clean) {
            self.item(item, now);
        }
        self.hand_over().await;
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
        // As far as it goes: a loss should have a name.
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
            COMPLAIN_EVERY,
            peer = %self.peer,
            source_id,
            %reason,
            error = %error,
            "message is dropped"
        );
    }

    async fn hand_over(&mut self) {
        if self.envelopes > 0 {
            let envelopes = std::mem::take(&mut self.envelopes);
            self.shared.ledger.received(envelopes as u64);
            let batch = std::mem::take(&mut self.batch);
            self.shared.outbox.put(batch, envelopes).await;
        }
    }
}

/// What a read came to, if it was in time.
fn event(read: Result<io::Result<usize>, Elapsed>) -> Option<Event> {
    match read.ok()? {
        Ok(0) => Some(Event::End { clean: true }),
        Ok(_) => Some(Event::Bytes),
        // Also a sender that goes without ending its TLS session.
        Err(_) => Some(Event::End { clean: false }),
    }
}
