//! Validated envelopes in wire form.
//!
//! A [`Batch`] holds the `batch` fields of one `loggregator.v2.EnvelopeBatch` as they arrived, and for each envelope
//! one `Span` of 16 bytes with the facts that routing needs. The encoding of a repeated field is the plain
//! concatenation of its elements. To forward a batch is therefore to share its bytes, to select from it is to copy
//! slices, and to merge batches is to write one behind the other.
//!
//! ```text
//! bytes  | 0a len Envelope | 0a len Envelope | 0a len Envelope |
//! spans  |  end, head, source, kind, hash ^  …
//! ```

use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use bytes::{Bytes, BytesMut};

use crate::scan::{Head, scan};
use crate::view::EnvelopeView;
use crate::wire::{Fields, Value, WireError, put_varint};

/// The field of `EnvelopeBatch` and of ingress responses in which links between Weir's own parts carry their sequence
/// numbers. The original ignores it as unknown.
pub const LINK_FIELD: u32 = 15_000;

/// The longest accepted source id, in bytes.
///
/// The protocol sets no limit. The log cache, the syslog agent and the URL paths that name an app all stop far below
/// this.
const MAX_SOURCE_ID: usize = 4096;

/// Hashes source ids. The key is random, so that no producer can choose an id that collides with another source's.
static SOURCE_HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The kind of payload that an envelope carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A line of output.
    Log = 0,
    /// A number that only grows.
    Counter = 1,
    /// One or more values measured at one moment.
    Gauge = 2,
    /// A start and a stop time.
    Timer = 3,
    /// A title and a body.
    Event = 4,
    /// No payload at all, or one of a kind that this version does not know.
    None = 5,
}

impl Kind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Self; 6] = [
        Self::Log,
        Self::Counter,
        Self::Gauge,
        Self::Timer,
        Self::Event,
        Self::None,
    ];

    /// The kind's position in [`Kind::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Where one envelope lies in the batch's bytes, and the facts that routing reads. Offsets and lengths are in bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Offset of the end of the envelope's field, which is the start of the next one.
    end: u32,
    /// Offset of the source id.
    source_at: u32,
    /// [`source_hash`] of the source id.
    source_hash: u32,
    /// Length of the source id.
    source_len: u16,
    /// Length of the field's key and length prefix, which stand before the `Envelope` message.
    head: u8,
    /// The [`Kind`] in the bits of [`KIND_MASK`], and [`DEPRECATED_TAGS`].
    flags: u8,
}

const DEPRECATED_TAGS: u8 = 0x80;
const KIND_MASK: u8 = 0x07;

/// A list of validated envelopes in wire form. A clone shares the bytes and the spans.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Bytes,
    spans: Arc<[Span]>,
}

/// An envelope that was refused when its batch was split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The envelope's source id as far as it could be read; empty if it could not.
    pub source_id: String,
    /// The fault for which the envelope was refused.
    pub error: WireError,
}

/// An `EnvelopeBatch` message taken apart.
#[derive(Debug)]
pub struct Split {
    /// The envelopes that are well formed.
    pub batch: Batch,
    /// The envelopes that are malformed. A malformed envelope does not affect the others.
    pub rejected: Vec<Rejected>,
    /// Set if the framing of the batch is broken: everything behind that point is lost, and cannot be counted.
    pub broken: Option<WireError>,
    /// The payload of [`LINK_FIELD`], which only Weir's own components send.
    pub link: Option<Bytes>,
}

impl Batch {
    /// A batch without envelopes.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            bytes: Bytes::new(),
            spans: Arc::from([]),
        }
    }

    /// Takes an `EnvelopeBatch` message apart and validates each envelope with one scan.
    ///
    /// The batch shares the bytes of `message`, unless something else lies between the envelopes that are kept.
    #[must_use]
    pub fn split(message: Bytes) -> Split {
        // A guess from the usual size of an envelope. If it is too small, the vector only grows once more.
        let mut spans = Vec::with_capacity(message.len() / 256 + 4);
        let mut rejected = Vec::new();
        let mut broken = None;
        let mut link = None;
        // The usual message is nothing but valid envelopes, so its bytes are shared as one range, `run`. The first gap
        // (a malformed envelope, or another field) makes a copy necessary, because spans count from the start of the
        // bytes.
        let mut run = 0..0;
        let mut copied: Option<BytesMut> = None;
        let mut fields = Fields::new(&message);
        loop {
            let at = fields.offset();
            let (number, value) = match fields.next() {
                None => break,
                Some(Ok(field)) => field,
                Some(Err(error)) => {
                    broken = Some(error);
                    break;
                }
            };
            let end = fields.offset();
            match (number, value) {
                (1, Value::Bytes(envelope)) => match checked_scan(envelope) {
                    Ok(head) => {
                        let field = &message[at..end];
                        if copied.is_none() {
                            if run.is_empty() {
                                run = at..at;
                            } else if run.end != at {
                                copied = Some(BytesMut::from(&message[run.clone()]));
                            }
                        }
                        let start = match &mut copied {
                            Some(copy) => {
                                let start = copy.len();
                                copy.extend_from_slice(field);
                                start
                            }
                            None => {
                                run.end = end;
                                at - run.start
                            }
                        };
                        spans.push(span(start, field, envelope, head));
                    }
                    Err(error) => rejected.push(Rejected {
                        source_id: readable_source_id(envelope),
                        error,
                    }),
                },
                // Field 1 with another wire type: an envelope was meant, so it counts as one that is lost.
                (1, _) => rejected.push(Rejected {
                    source_id: String::new(),
                    error: WireError::FieldType(1),
                }),
                (LINK_FIELD, Value::Bytes(extension)) => link = Some(message.slice_ref(extension)),
                _ => {}
            }
        }
        // The slice leaves out what stands before and behind the envelopes, such as the link field.
        let bytes = copied.map_or_else(|| message.slice(run), BytesMut::freeze);
        Split {
            batch: Self {
                bytes,
                spans: spans.into(),
            },
            rejected,
            broken,
            link,
        }
    }

    /// Returns a batch that holds a copy of one encoded `Envelope` message.
    ///
    /// # Errors
    /// If the message is not a well-formed envelope.
    pub fn from_envelope(message: &[u8]) -> Result<Self, WireError> {
        // Scanned here for the error, because `push` only says whether there was one.
        checked_scan(message)?;
        let mut builder = BatchBuilder::new();
        builder.push(message);
        Ok(builder.finish())
    }

    /// The encoded `batch` fields, which together are a valid `EnvelopeBatch` message.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Number of envelopes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the batch has no envelopes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Size of the encoded fields in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether any envelope of the batch carries deprecated tags.
    #[must_use]
    pub fn has_deprecated_tags(&self) -> bool {
        self.spans.iter().any(|span| span.flags & DEPRECATED_TAGS != 0)
    }

    /// The envelopes, in the order of the wire.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RawEnvelope<'_>> + Clone {
        let bytes: &[u8] = &self.bytes;
        self.spans.iter().enumerate().map(move |(index, span)| {
            let start = if index == 0 { 0 } else { self.spans[index - 1].end };
            RawEnvelope { bytes, start, span }
        })
    }

    /// Returns the envelopes for which `keep` is true, in their order; `None` if there are none.
    ///
    /// If every envelope is kept, the result shares the bytes of this batch. A part is copied, so that a few lines in a
    /// queue do not keep a whole message in memory.
    #[must_use]
    pub fn select(&self, mut keep: impl FnMut(RawEnvelope<'_>) -> bool) -> Option<Self> {
        let kept: Vec<u32> = (0u32..)
            .zip(self.iter())
            .filter_map(|(index, envelope)| keep(envelope).then_some(index))
            .collect();
        self.pick(&kept)
    }

    /// Returns the envelopes at the positions `picked`, in that order; `None` if `picked` is empty.
    ///
    /// A position may occur more than once. Bytes are shared and copied as by [`Batch::select`].
    ///
    /// # Panics
    /// If a position is not less than [`Batch::len`].
    #[must_use]
    pub fn pick(&self, picked: &[u32]) -> Option<Self> {
        if picked.is_empty() {
            return None;
        }
        // All envelopes in their order: sharing costs nothing, and no other part of the message is kept in memory.
        if picked.len() == self.len() && (0u32..).zip(picked).all(|(index, pick)| index == *pick) {
            return Some(self.clone());
        }
        let start_of = |index: usize| if index == 0 { 0 } else { self.spans[index - 1].end };
        let size: usize = picked
            .iter()
            .map(|&index| (self.spans[index as usize].end - start_of(index as usize)) as usize)
            .sum();
        let mut bytes = BytesMut::with_capacity(size);
        let mut spans = Vec::with_capacity(picked.len());
        for &index in picked {
            let span = &self.spans[index as usize];
            let start = start_of(index as usize);
            let at = offset(bytes.len());
            bytes.extend_from_slice(&self.bytes[start as usize..span.end as usize]);
            spans.push(span.moved(start, at));
        }
        Some(Self {
            bytes: bytes.freeze(),
            spans: spans.into(),
        })
    }
}

impl Span {
    /// Returns this span for a copy of the envelope whose field starts at `to` instead of `from`.
    const fn moved(&self, from: u32, to: u32) -> Self {
        Self {
            end: self.end - from + to,
            source_at: self.source_at - from + to,
            ..*self
        }
    }
}

/// Scans an envelope, and refuses one whose source id does not fit a [`Span`].
fn checked_scan(envelope: &[u8]) -> Result<Head<'_>, WireError> {
    let head = scan(envelope)?;
    if head.source_id.len() > MAX_SOURCE_ID {
        Err(WireError::TooLong(2))
    } else {
        Ok(head)
    }
}

/// Returns the span of `envelope`, whose encoded `field` (key, length, envelope) lies at offset `start` of a batch's
/// bytes.
fn span(start: usize, field: &[u8], envelope: &[u8], head: Head<'_>) -> Span {
    let header = field.len() - envelope.len();
    // The scan returns a slice of the envelope, so the difference of the addresses is the offset. An empty source id
    // may point anywhere.
    let source = if head.source_id.is_empty() {
        0
    } else {
        head.source_id.as_ptr() as usize - envelope.as_ptr() as usize
    };
    Span {
        end: offset(start + field.len()),
        source_at: offset(start + header + source),
        source_hash: source_hash(head.source_id),
        source_len: u16::try_from(head.source_id.len()).expect("limited by MAX_SOURCE_ID"),
        head: u8::try_from(header).expect("two varints are at most 20 bytes"),
        flags: head.kind as u8 | if head.deprecated_tags { DEPRECATED_TAGS } else { 0 },
    }
}

fn offset(value: usize) -> u32 {
    u32::try_from(value).expect("messages are limited to far less than 4 GiB by every server")
}

/// Returns the hash of a source id by which tables and queues group envelopes. It differs from process to process.
#[must_use]
pub fn source_hash(source_id: &str) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "half of the hash is enough")]
    let hash = SOURCE_HASH.hash_one(source_id) as u32;
    hash
}

/// Returns the source id of a malformed envelope as far as it can be read, so that the loss is counted for its source.
fn readable_source_id(envelope: &[u8]) -> String {
    let mut source_id = String::new();
    for (number, value) in Fields::new(envelope).flatten() {
        // Each occurrence replaces the one before, as in a valid envelope.
        if let (2, Value::Bytes(bytes)) = (number, value) {
            source_id = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_SOURCE_ID)]).into_owned();
        }
    }
    source_id
}

/// One envelope of a [`Batch`].
#[derive(Clone, Copy)]
pub struct RawEnvelope<'a> {
    bytes: &'a [u8],
    start: u32,
    span: &'a Span,
}

impl std::fmt::Debug for RawEnvelope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawEnvelope")
            .field("source_id", &self.source_id())
            .field("kind", &self.kind())
            .field("len", &self.bytes().len())
            .finish()
    }
}

impl<'a> RawEnvelope<'a> {
    /// The encoded `Envelope` message, without the key and length that frame it in a batch.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        &self.bytes[self.start as usize + usize::from(self.span.head)..self.span.end as usize]
    }

    /// The encoded element of `EnvelopeBatch.batch`: key, length and `Envelope` message.
    #[must_use]
    pub fn field(&self) -> &'a [u8] {
        &self.bytes[self.start as usize..self.span.end as usize]
    }

    /// The source id: which app or component emitted the envelope.
    #[must_use]
    pub fn source_id(&self) -> &'a str {
        std::str::from_utf8(self.source_id_bytes()).expect("checked when the batch was split")
    }

    /// The source id as bytes, for look-ups on the hot path, which then check no UTF-8.
    #[must_use]
    pub fn source_id_bytes(&self) -> &'a [u8] {
        let at = self.span.source_at as usize;
        &self.bytes[at..at + usize::from(self.span.source_len)]
    }

    /// [`source_hash`] of the source id, without computing it again.
    #[must_use]
    pub const fn source_hash(&self) -> u32 {
        self.span.source_hash
    }

    /// The kind of the envelope's payload.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        Kind::ALL[(self.span.flags & KIND_MASK) as usize]
    }

    /// Whether the envelope carries deprecated tags.
    #[must_use]
    pub const fn has_deprecated_tags(&self) -> bool {
        self.span.flags & DEPRECATED_TAGS != 0
    }

    /// A view through which the envelope's fields are read without allocation.
    #[must_use]
    pub fn view(&self) -> EnvelopeView<'a> {
        EnvelopeView::new(self.bytes())
    }
}

/// Builds a [`Batch`] from envelopes.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl BatchBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an encoded `Envelope` if it is well formed, and returns whether it was.
    pub fn push(&mut self, envelope: &[u8]) -> bool {
        self.try_push(envelope).is_ok()
    }

    /// Appends an encoded `Envelope` if it is well formed.
    ///
    /// # Errors
    /// If the envelope is malformed; the builder is then unchanged.
    pub fn try_push(&mut self, envelope: &[u8]) -> Result<(), Rejected> {
        let head = checked_scan(envelope).map_err(|error| Rejected {
            source_id: readable_source_id(envelope),
            error,
        })?;
        let start = self.bytes.len();
        // The key of field 1 with wire type 2, a length-delimited field.
        self.bytes.push(0x0a);
        put_varint(&mut self.bytes, envelope.len() as u64);
        self.bytes.extend_from_slice(envelope);
        self.spans.push(span(start, &self.bytes[start..], envelope, head));
        Ok(())
    }

    /// Appends the envelope that `write` encodes if it is well formed, and returns whether it was.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut envelope = Vec::with_capacity(256);
        write(&mut envelope);
        self.push(&envelope)
    }

    /// Appends an envelope of another batch. It was validated there, and is not checked again.
    pub fn push_raw(&mut self, envelope: RawEnvelope<'_>) {
        let at = offset(self.bytes.len());
        self.bytes.extend_from_slice(envelope.field());
        self.spans.push(envelope.span.moved(envelope.start, at));
    }

    /// Appends an envelope of another batch with further tags: `tags` are encoded `Envelope.tags` fields that the
    /// caller made.
    ///
    /// Tags do not change the source id or the kind, so the envelope is not scanned again.
    pub fn push_tagged(&mut self, envelope: RawEnvelope<'_>, tags: &[u8]) {
        debug_assert!(checked_scan(tags).is_ok_and(|head| head.kind == Kind::None && head.source_id.is_empty()));
        let (before, bytes) = (envelope.span, envelope.bytes());
        let start = self.bytes.len();
        self.bytes.push(0x0a);
        put_varint(&mut self.bytes, (bytes.len() + tags.len()) as u64);
        let body = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(tags);
        self.spans.push(Span {
            end: offset(self.bytes.len()),
            // The offset within the envelope does not change: tags are appended behind its other fields.
            source_at: before.source_at - envelope.start - u32::from(before.head) + offset(body),
            head: u8::try_from(body - start).expect("two varints are at most 20 bytes"),
            ..*before
        });
    }

    /// Reserves memory for a number of further envelopes and bytes.
    pub fn reserve(&mut self, envelopes: usize, bytes: usize) {
        self.spans.reserve(envelopes);
        self.bytes.reserve(bytes);
    }

    /// Number of envelopes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Size of the encoded fields so far, in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the batch built so far, and leaves the builder empty.
    pub fn finish(&mut self) -> Batch {
        Batch {
            bytes: std::mem::take(&mut self.bytes).into(),
            spans: std::mem::take(&mut self.spans).into(),
        }
    }
}

#[cfg(test)]
mod tests;
