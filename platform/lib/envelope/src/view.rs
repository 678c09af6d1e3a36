//! Reads the fields of an encoded `loggregator.v2.Envelope` without decoding it into owned types.
//!
//! A view borrows the wire form, allocates nothing and cannot fail. On bytes that were validated when their batch was
//! split ([`crate::batch`]) it returns what a protobuf decoder returns. On other bytes a malformed field reads as its
//! default value, and reading ends where the framing is broken.
//!
//! Repeated occurrences of a field follow the protobuf specification: the last occurrence of a scalar counts, the last
//! kind of payload counts, and two payload fields of that kind are merged into one message. Only map entries are
//! returned as they come, duplicates included, because a reader that collects them into a map keeps the last by itself.
//!
//! Each accessor of [`EnvelopeView`] walks over the fields once. Callers that need more than one of them use a
//! [`Summary`], which reads everything in one walk and leaves the tags and metrics encoded until they are iterated.

use std::borrow::Cow;

use crate::{
    batch::Kind,
    wire::{Fields, Value},
};

mod message;
mod tags;

pub use message::{GaugeMetrics, Message, Metric, Stream};
pub use tags::{DeprecatedTags, TagValue, Tags};

/// Field numbers of `Envelope`.
pub(crate) mod field {
    pub(crate) const TIMESTAMP: u32 = 1;
    pub(crate) const SOURCE_ID: u32 = 2;
    pub(crate) const DEPRECATED_TAGS: u32 = 3;
    pub(crate) const LOG: u32 = 4;
    pub(crate) const COUNTER: u32 = 5;
    pub(crate) const GAUGE: u32 = 6;
    pub(crate) const TIMER: u32 = 7;
    pub(crate) const INSTANCE_ID: u32 = 8;
    pub(crate) const TAGS: u32 = 9;
    pub(crate) const EVENT: u32 = 10;
}

/// An encoded envelope, read field by field.
#[derive(Debug, Clone, Copy)]
pub struct EnvelopeView<'a> {
    bytes: &'a [u8],
}

impl<'a> EnvelopeView<'a> {
    /// Returns a view of an encoded `Envelope` message.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The encoded message.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The timestamp, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.last(field::TIMESTAMP, |value| value.int64(field::TIMESTAMP).ok())
            .unwrap_or_default()
    }

    /// The source id: which app or component emitted the envelope.
    #[must_use]
    pub fn source_id(&self) -> &'a str {
        self.last(field::SOURCE_ID, |value| value.text(field::SOURCE_ID).ok())
            .unwrap_or_default()
    }

    /// The instance id: which copy of the source emitted the envelope.
    #[must_use]
    pub fn instance_id(&self) -> &'a str {
        self.last(field::INSTANCE_ID, |value| value.text(field::INSTANCE_ID).ok())
            .unwrap_or_default()
    }

    /// The kind of the payload.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let mut kind = Kind::None;
        for (number, value) in fields(self.bytes) {
            // The payload is a `oneof`: the last of its fields counts.
            if let (Some(found), Value::Bytes(_)) = (kind_of(number), value) {
                kind = found;
            }
        }
        kind
    }

    /// The preferred tags, in the order of the wire.
    #[must_use]
    pub fn tags(&self) -> Tags<'a> {
        Tags::new(self.bytes)
    }

    /// The deprecated tags, in the order of the wire.
    #[must_use]
    pub fn deprecated_tags(&self) -> DeprecatedTags<'a> {
        DeprecatedTags::new(self.bytes)
    }

    /// Returns the value of tag `key` from the preferred tags, or else from the deprecated ones, as text.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<Cow<'a, str>> {
        tag(self.tags(), self.deprecated_tags(), key)
    }

    /// The payload.
    #[must_use]
    pub fn message(&self) -> Message<'a> {
        self.summary().message
    }

    /// Reads every field in one walk, and leaves the tags and metrics encoded.
    #[inline]
    #[must_use]
    pub fn summary(&self) -> Summary<'a> {
        Summary::read(self.bytes)
    }

    /// Returns the last occurrence of field `number` that `read` accepts.
    fn last<T>(&self, number: u32, read: impl Fn(Value<'a>) -> Option<T>) -> Option<T> {
        fields(self.bytes)
            .filter(|(found, _)| *found == number)
            .filter_map(|(_, value)| read(value))
            .last()
    }
}

/// The fields of an envelope, from one walk over its bytes.
#[derive(Debug, Clone)]
pub struct Summary<'a> {
    /// The timestamp, in nanoseconds since the Unix epoch.
    pub timestamp: i64,
    /// The source id: which app or component emitted the envelope.
    pub source_id: &'a str,
    /// The instance id: which copy of the source emitted the envelope.
    pub instance_id: &'a str,
    /// The kind of the payload.
    pub kind: Kind,
    /// The payload.
    pub message: Message<'a>,
    tags: &'a [u8],
    deprecated_tags: &'a [u8],
}

impl<'a> Summary<'a> {
    #[inline]
    fn read(bytes: &'a [u8]) -> Self {
        let mut summary = Self {
            timestamp: 0,
            source_id: "",
            instance_id: "",
            kind: Kind::None,
            message: Message::None,
            tags: &[],
            deprecated_tags: &[],
        };
        // The range that holds all tags of one map. Encoders write a map's entries one behind the other, so as a rule
        // no other field lies in it; the iterators skip one that does.
        let (mut tags, mut deprecated_tags) = (FieldRange::default(), FieldRange::default());
        let mut walk = Fields::new(bytes);
        loop {
            let at = walk.offset();
            let Some(Ok((number, value))) = walk.next() else {
                break;
            };
            match (number, value) {
                (field::TIMESTAMP, Value::Varint(value)) => {
                    summary.timestamp = value.cast_signed();
                }
                (field::TAGS, Value::Bytes(_)) => tags.extend(at, walk.offset()),
                (field::DEPRECATED_TAGS, Value::Bytes(_)) => {
                    deprecated_tags.extend(at, walk.offset());
                }
                (field::SOURCE_ID, Value::Bytes(value)) => text(value, &mut summary.source_id),
                (field::INSTANCE_ID, Value::Bytes(value)) => text(value, &mut summary.instance_id),
                (_, Value::Bytes(value)) => {
                    if let Some(kind) = kind_of(number) {
                        summary.kind = kind;
                        summary.message.merge(kind, value, &bytes[walk.offset()..]);
                    }
                }
                _ => {}
            }
        }
        summary.tags = tags.of(bytes);
        summary.deprecated_tags = deprecated_tags.of(bytes);
        summary
    }

    /// The preferred tags, in the order of the wire.
    #[must_use]
    pub fn tags(&self) -> Tags<'a> {
        Tags::new(self.tags)
    }

    /// The deprecated tags, in the order of the wire.
    #[must_use]
    pub fn deprecated_tags(&self) -> DeprecatedTags<'a> {
        DeprecatedTags::new(self.deprecated_tags)
    }

    /// Whether the envelope has deprecated tags.
    #[must_use]
    pub const fn has_deprecated_tags(&self) -> bool {
        !self.deprecated_tags.is_empty()
    }

    /// Returns the value of tag `key` from the preferred tags, or else from the deprecated ones, as text.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<Cow<'a, str>> {
        tag(self.tags(), self.deprecated_tags(), key)
    }

    /// The bytes of the envelope from its first to its last preferred tag, in wire form; empty if there are none.
    ///
    /// Equal bytes mean equal tag sets, and an emitter encodes a tag set alike in every envelope. A reader can
    /// therefore use them as a key to find a tag set that it has read before. Equal tag sets need not have equal bytes,
    /// because the order of a map's entries is free.
    #[must_use]
    pub const fn tags_bytes(&self) -> &'a [u8] {
        self.tags
    }

    /// The bytes of the envelope from its first to its last deprecated tag, in wire form; empty if there are none.
    #[must_use]
    pub const fn deprecated_tags_bytes(&self) -> &'a [u8] {
        self.deprecated_tags
    }
}

/// A range of bytes from the start of the first to the end of the last field of one kind.
#[derive(Default)]
struct FieldRange {
    span: Option<(usize, usize)>,
}

impl FieldRange {
    #[inline]
    const fn extend(&mut self, start: usize, end: usize) {
        self.span = match self.span {
            Some((first, _)) => Some((first, end)),
            None => Some((start, end)),
        };
    }

    fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.span.map_or(&[], |(start, end)| &bytes[start..end])
    }
}

/// Returns the fields of a message up to the first that is malformed.
#[inline]
pub(crate) fn fields(bytes: &[u8]) -> impl Iterator<Item = (u32, Value<'_>)> + Clone {
    Fields::new(bytes).map_while(Result::ok)
}

/// Sets `slot` to `bytes` if they are UTF-8.
#[inline]
fn text<'a>(bytes: &'a [u8], slot: &mut &'a str) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        *slot = text;
    }
}

/// Returns the kind of payload that field `number` of an envelope holds.
#[inline]
const fn kind_of(number: u32) -> Option<Kind> {
    match number {
        field::LOG => Some(Kind::Log),
        field::COUNTER => Some(Kind::Counter),
        field::GAUGE => Some(Kind::Gauge),
        field::TIMER => Some(Kind::Timer),
        field::EVENT => Some(Kind::Event),
        _ => None,
    }
}

fn tag<'a>(tags: Tags<'a>, deprecated_tags: DeprecatedTags<'a>, key: &str) -> Option<Cow<'a, str>> {
    let preferred = tags
        .filter(|(found, _)| *found == key)
        .last()
        .map(|(_, value)| Cow::Borrowed(value));
    preferred.or_else(|| {
        deprecated_tags
            .filter(|(found, _)| *found == key)
            .last()
            .map(|(_, value)| value.to_text())
    })
}

#[cfg(test)]
mod tests;
