//! Identities: the source, instance id and tags that rows of one emitter have in common, stored once.
//!
//! Instance id and tags are stored in wire form, as fields of `Envelope`, in a canonical order. Equal sets are thus
//! equal bytes, in whatever order the emitter wrote its map, and a reply copies the bytes unchanged:
//!
//! ```text
//! head | 42 len instance_id | 4a len (0a len key 12 len value) … sorted | 1a len (0a len key 12 len Value) … sorted |
//! ```
//!
//! If a key occurs twice, the last entry counts, as in protobuf. Deprecated tags stay deprecated, so that a read
//! returns the envelope that was ingested.

use std::borrow::Cow;
use std::sync::Arc;

use weir_envelope::view::{EnvelopeView, Summary, TagValue};
use weir_envelope::wire::{put_bytes, put_varint, varint_len};

use crate::intern::Value;
use crate::source::Source;

/// The source, instance id and tags of many rows.
#[derive(Debug)]
pub struct Identity {
    source: Arc<Source>,
    head: Box<[u8]>,
}

impl Identity {
    pub(crate) fn new(source: Arc<Source>, head: &[u8]) -> Self {
        Self {
            source,
            head: head.into(),
        }
    }

    /// The source of the rows.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The instance id and tags, as fields of an encoded `Envelope`.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The instance id: which copy of the source emitted the rows.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        EnvelopeView::new(&self.head).instance_id()
    }

    /// All tags as text, each key once: the preferred tags sorted by key, followed by the deprecated tags with other
    /// keys.
    pub fn tags(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let view = EnvelopeView::new(&self.head);
        let deprecated = view
            .deprecated_tags()
            .filter(move |(key, _)| view.tags().all(|(hiding, _)| hiding != *key))
            .map(|(key, value)| (key, value.to_text()));
        view.tags()
            .map(|(key, value)| (key, Cow::Borrowed(value)))
            .chain(deprecated)
    }

    /// The value of tag `key` from the preferred tags, or else from the deprecated ones.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        EnvelopeView::new(&self.head).tag(key)
    }
}

impl Value for Identity {
    fn bytes(&self) -> usize {
        // Two allocations, with the reference counts and the allocator's overhead.
        size_of::<Self>() + self.head.len() + 48
    }
}

/// Writes instance id and tags in canonical form, with buffers that it reuses.
#[derive(Debug, Default)]
pub(crate) struct HeadWriter<'a> {
    tags: Vec<(&'a str, &'a str)>,
    deprecated: Vec<(&'a str, TagValue<'a>)>,
}

impl<'a> HeadWriter<'a> {
    /// Appends the instance id and tags of an envelope to `out`.
    #[inline]
    pub(crate) fn write(&mut self, envelope: &Summary<'a>, out: &mut Vec<u8>) {
        if !envelope.instance_id.is_empty() {
            put_bytes(out, 8, envelope.instance_id.as_bytes());
        }
        self.tags.clear();
        self.tags.extend(envelope.tags());
        sort_last_wins(&mut self.tags);
        for (key, value) in &self.tags {
            put_entry(out, 9, key, value.as_bytes());
        }
        if envelope.has_deprecated_tags() {
            self.deprecated.clear();
            self.deprecated.extend(envelope.deprecated_tags());
            sort_last_wins(&mut self.deprecated);
            let mut text = Vec::new();
            for (key, value) in &self.deprecated {
                text.clear();
                put_value(&mut text, *value);
                put_entry(out, 3, key, &text);
            }
        }
    }
}

/// Sorts entries by key, and keeps the last of those with equal keys.
fn sort_last_wins<T: Copy>(entries: &mut Vec<(&str, T)>) {
    if entries.is_sorted_by(|left, right| left.0 < right.0) {
        return;
    }
    entries.sort_by_key(|entry| entry.0);
    entries.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            *kept = *later;
        }
        same
    });
}

/// Appends a map entry with both fields, even if they are empty.
#[inline]
fn put_entry(out: &mut Vec<u8>, field: u32, key: &str, value: &[u8]) {
    let len = 2 + varint_len(key.len() as u64) + key.len() + varint_len(value.len() as u64) + value.len();
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, len as u64);
    put_bytes(out, 1, key.as_bytes());
    put_bytes(out, 2, value);
}

/// Appends the fields of a `Value`. Its data is a oneof, of which a member is written even at its default value.
fn put_value(out: &mut Vec<u8>, value: TagValue<'_>) {
    match value {
        TagValue::Text(text) => put_bytes(out, 1, text.as_bytes()),
        TagValue::Integer(value) => {
            put_varint(out, 2 << 3);
            put_varint(out, value.cast_unsigned());
        }
        TagValue::Decimal(value) => {
            put_varint(out, 3 << 3 | 1);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        TagValue::None => {}
    }
}

#[cfg(test)]
mod tests {
    use weir_envelope::view::EnvelopeView;

    use super::*;

    fn head(envelope: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        HeadWriter::default().write(&EnvelopeView::new(envelope).summary(), &mut out);
        out
    }

    fn envelope(tags: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, 2, b"app");
        for (key, value) in tags {
            put_entry(&mut out, 9, key, value.as_bytes());
        }
        put_bytes(&mut out, 8, b"3");
        out
    }

    /// The canonical form does not depend on the order of the map's entries on the wire.
    #[test]
    fn order_does_not_matter_and_the_last_of_equal_keys_counts() {
        let sorted = head(&envelope(&[("a", "1"), ("b", "2"), ("c", "")]));
        assert_eq!(sorted, head(&envelope(&[("c", ""), ("b", "2"), ("a", "1")])));
        assert_eq!(
            sorted,
            head(&envelope(&[("b", "9"), ("c", ""), ("a", "0"), ("b", "2"), ("a", "1")]))
        );
        let view = EnvelopeView::new(&sorted);
        assert_eq!(view.instance_id(), "3");
        assert_eq!(view.tags().collect::<Vec<_>>(), [("a", "1"), ("b", "2"), ("c", "")]);
    }

    /// Deprecated tags keep their types, and are among the tags in SQL unless a preferred tag has their key.
    #[test]
    fn deprecated_tags_keep_their_types() {
        let mut bytes = envelope(&[("a", "1")]);
        let values = [
            ("a", TagValue::Integer(-4)),
            ("n", TagValue::Integer(0)),
            ("d", TagValue::Decimal(0.5)),
        ];
        for (key, value) in values {
            let mut data = Vec::new();
            put_value(&mut data, value);
            put_entry(&mut bytes, 3, key, &data);
        }
        let mut registry = crate::source::Registry::default();
        let slot = registry.intern(1, "app");
        let identity = Identity::new(Arc::clone(&registry.slot_mut(slot).source), &head(&bytes));
        let view = EnvelopeView::new(identity.head());
        let deprecated: Vec<_> = view.deprecated_tags().collect();
        assert_eq!(deprecated, [values[0], values[2], values[1]]);
        let tags: Vec<(&str, String)> = identity.tags().map(|(key, value)| (key, value.into_owned())).collect();
        assert_eq!(
            tags,
            [
                ("a", "1".to_owned()),
                ("d", "0.500000".to_owned()),
                ("n", "0".to_owned())
            ]
        );
    }
}
