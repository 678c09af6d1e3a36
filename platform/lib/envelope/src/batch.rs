//! Validated envelopes in wire form.
//!
//! A [`Batch`] holds the `batch` fields of one `loggregator.v2.EnvelopeBatch` as they arrived, and beside them one
//! `Span` of 16 bytes for each envelope with what routing needs. Because a repeated field's encoding is the plain
//! concatenation of its elements, forwarding a batch is sharing its bytes, selecting is copying slices, and merging is
//! writing one batch after the other.
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

/// Longest accepted source id, in bytes. The contract knows none; the log cache, the syslog agent and every path of an
/// app stop far below.
const MAX_SOURCE_ID: usize = 4096;

/// Hashes source ids; keyed at random so that nobody can aim for a neighbour's bucket.
static SOURCE_HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Which of the five payloads an envelope has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A log line.
    Log = 0,
    /// A counter.
    Counter = 1,
    /// One or more gauges.
    Gauge = 2,
    /// A timer.
    Timer = 3,
    /// An event.
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

/// Where one envelope lies in the batch's bytes, and what routing asks of it.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// End of the field; the next one starts here.
    end: u32,
    source_at: u32,
    source_hash: u32,
    source_len: u16,
    /// Length of the tag and the length prefix.
    head: u8,
    /// The kind in the low bits, [`DEPRECATED_TAGS`] above.
    flags: u8,
}

const DEPRECATED_TAGS: u8 = 0x80;
const KIND_MASK: u8 = 0x07;

/// Validated envelopes in wire form; cheap to clone.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Bytes,
    spans: Arc<[Span]>,
}

/// An envelope that was refused when its batch was split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its source id as far as it could be read; empty if it could not.
    pub source_id: String,
    /// What is wrong with it.
    pub error: WireError,
}

/// An `EnvelopeBatch` message taken apart.
#[derive(Debug)]
pub struct Split {
    /// The envelopes that are well formed.
    pub batch: Batch,
    /// The ones that are not; each costs only itself.
    pub rejected: Vec<Rejected>,
    /// Set if the framing of the batch broke: everything behind that point is lost, in a number nobody can know.
    pub broken: Option<WireError>,
    /// The payload of [`LINK_FIELD`], if the sender is one of ours.
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

    /// Takes an `EnvelopeBatch` message apart and validates each envelope.
    #[must_use]
    pub fn split(message: Bytes) -> Split {
        let mut spans = Vec::with_capacity(message.len() / 256 + 4);
        let mut rejected = Vec::new();
        let mut broken = None;
        let mut link = None;
        // The run of bytes that can be shared as it is; `copied` takes over once something lies in between.
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
                        source_id: guess_source_id(envelope),
                        error,
                    }),
                },
                (1, _) => rejected.push(Rejected {
                    source_id: String::new(),
                    error: WireError::FieldType(1),
                }),
                (LINK_FIELD, Value::Bytes(extension)) => link = Some(message.slice_ref(extension)),
                _ => {}
            }
        }
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

    /// A batch of the one `Envelope` message given.
    pub fn from_envelope(message: &[u8]) -> Result<Self, WireError> {
        checked_scan(message)?;
        let mut builder = BatchBuilder::new();
        builder.push(message);
        Ok(builder.finish())
    }

    /// The encoded `batch` fields: a valid `EnvelopeBatch` message.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Number of envelopes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are no envelopes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Size of the encoded fields in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether any envelope carries deprecated tags.
    #[must_use]
    pub fn has_deprecated_tags(&self) -> bool {
        self.spans.iter().any(|span| span.flags & DEPRECATED_TAGS != 0)
    }

    /// The envelopes, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RawEnvelope<'_>> + Clone {
        let bytes: &[u8] = &self.bytes;
        self.spans.iter().enumerate().map(move |(index, span)| {
            let start = if index == 0 { 0 } else { self.spans[index - 1].end };
            RawEnvelope { bytes, start, span }
        })
    }

    /// The envelopes for which `keep` is true, in order; `None` if there are none.
    ///
    /// All of them shares the bytes; a part is copied, so that a few kept lines never pin the whole message.
    #[must_use]
    pub fn select(&self, mut keep: impl FnMut(RawEnvelope<'_>) -> bool) -> Option<Self> {
        let kept: Vec<u32> = (0u32..)
            .zip(self.iter())
            .filter_map(|(index, envelope)| keep(envelope).then_some(index))
            .collect();
        self.pick(&kept)
    }

    /// The envelopes at the positions `picked`, in that order; a position may come more than once.
    ///
    /// # Panics
    /// If a position is not below [`Batch::len`].
    #[must_use]
    pub fn pick(&self, picked: &[u32]) -> Option<Self> {
        if picked.is_empty() {
            return None;
        }
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
    /// The same envelope with its field at `to` instead of `from`.
    const fn moved(&self, from: u32, to: u32) -> Self {
        Self {
            end: self.end - from + to,
            source_at: self.source_at - from + to,
            ..*self
        }
    }
}

fn checked_scan(envelope: &[u8]) -> Result<Head<'_>, WireError> {
    let head = scan(envelope)?;
    if head.source_id.len() > MAX_SOURCE_ID {
        Err(WireError::TooLong(2))
    } else {
        Ok(head)
    }
}

/// The span of `envelope`, which ends the encoded `field` that lies at `start` of a batch's bytes.
fn span(start: usize, field: &[u8], envelope: &[u8], head: Head<'_>) -> Span {
    let header = field.len() - envelope.len();
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

/// The hash by which envelopes of one source find each other; stable within this process.
#[must_use]
pub fn source_hash(source_id: &str) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "half of the hash is enough")]
    let hash = SOURCE_HASH.hash_one(source_id) as u32;
    hash
}

/// The source id of an envelope that failed its check, as far as it goes: a loss should have a name.
fn guess_source_id(envelope: &[u8]) -> String {
    let mut source_id = String::new();
    for (number, value) in Fields::new(envelope).flatten() {
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
    /// The encoded `Envelope` message.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        &self.bytes[self.start as usize + usize::from(self.span.head)..self.span.end as usize]
    }

    /// The same with its tag and length in front: an element of `EnvelopeBatch.batch`.
    #[must_use]
    pub fn field(&self) -> &'a [u8] {
        &self.bytes[self.start as usize..self.span.end as usize]
    }

    /// Who emitted it.
    #[must_use]
    pub fn source_id(&self) -> &'a str {
        std::str::from_utf8(self.source_id_bytes()).expect("checked when the batch was split")
    }

    /// The same as bytes, for look-ups on the hot path.
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

    /// Which payload it has.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        Kind::ALL[(self.span.flags & KIND_MASK) as usize]
    }

    /// Whether it carries deprecated tags.
    #[must_use]
    pub const fn has_deprecated_tags(&self) -> bool {
        self.span.flags & DEPRECATED_TAGS != 0
    }

    /// Typed access without allocation.
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

    /// Appends an encoded `Envelope`; returns whether it was well formed and thus taken.
    pub fn push(&mut self, envelope: &[u8]) -> bool {
        self.try_push(envelope).is_ok()
    }

    /// The same, saying what is wrong with an envelope that is not taken.
    pub fn try_push(&mut self, envelope: &[u8]) -> Result<(), Rejected> {
        let head = checked_scan(envelope).map_err(|error| Rejected {
            source_id: guess_source_id(envelope),
            error,
        })?;
        let start = self.bytes.len();
        self.bytes.push(0x0a);
        put_varint(&mut self.bytes, envelope.len() as u64);
        self.bytes.extend_from_slice(envelope);
        self.spans.push(span(start, &self.bytes[start..], envelope, head));
        Ok(())
    }

    /// Appends the envelope that `write` encodes; returns whether it was well formed and thus taken.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut envelope = Vec::with_capacity(256);
        write(&mut envelope);
        self.push(&envelope)
    }

    /// Appends an envelope of another batch, which needs no second check.
    pub fn push_raw(&mut self, envelope: RawEnvelope<'_>) {
        let at = offset(self.bytes.len());
        self.bytes.extend_from_slice(envelope.field());
        self.spans.push(envelope.span.moved(envelope.start, at));
    }

    /// Appends an envelope of another batch with more tags: `tags` are encoded `Envelope.tags` fields of our own making.
    /// Nothing that routing looks at changes, so there is no second check.
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
            source_at: before.source_at - envelope.start - u32::from(before.head) + offset(body),
            head: u8::try_from(body - start).expect("two varints are at most 20 bytes"),
            ..*before
        });
    }

    /// Makes room for so many more envelopes and bytes.
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

    /// The batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> Batch {
        Batch {
            bytes: std::mem::take(&mut self.bytes).into(),
            spans: std::mem::take(&mut self.spans).into(),
        }
    }
}

#[cfg(test)]
mod tests;
