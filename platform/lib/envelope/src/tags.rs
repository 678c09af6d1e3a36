//! Merges the two tag maps of an encoded envelope into one of them.
//!
//! An envelope has typed `deprecated_tags` and textual `tags`. A reverse log proxy gives a consumer all of them in the
//! one map for which the consumer's request asks (logging §9):
//!
//! ```text
//! prefer_tags     tags := tags ∪ deprecated_tags, where the deprecated value wins, printed; deprecated_tags := ∅
//! deprecate_tags  deprecated_tags := deprecated_tags ∪ tags, where the tag wins, as text; tags := ∅
//! ```
//!
//! Both functions read an encoded envelope that was validated when its batch was split, and append the new one to a
//! buffer. All other fields are copied unchanged, unknown ones included. A deprecated tag without a value is dropped.

use std::collections::HashSet;

use crate::encode::put_deprecated_tag;
use crate::number::DecimalForm;
use crate::view::{EnvelopeView, TagValue, Tags, field};
use crate::wire::{Fields, Value, put_entry};

/// Appends `envelope` to `out` with all of its tags in `tags`. Integers are printed in decimal, other numbers in their
/// shortest form ([`DecimalForm::Shortest`]).
pub fn prefer_tags(envelope: &[u8], out: &mut Vec<u8>) {
    let deprecated = EnvelopeView::new(envelope).deprecated_tags();
    let winners = KeySet::of(
        deprecated
            .clone()
            .filter(|(_, value)| value.is_some())
            .map(|(key, _)| key.as_bytes()),
    );
    copy_other_fields(envelope, out, |number, entry| match number {
        field::DEPRECATED_TAGS => false,
        field::TAGS => winners.is_empty() || !winners.contains(only_key(entry)),
        _ => true,
    });
    for (key, value) in deprecated {
        if value.is_some() {
            put_entry(
                out,
                field::TAGS,
                key.as_bytes(),
                value.print(DecimalForm::Shortest).as_bytes(),
            );
        }
    }
}

/// Appends `envelope` to `out` with all of its tags in `deprecated_tags`. Those that were in `tags` become text values.
pub fn deprecate_tags(envelope: &[u8], out: &mut Vec<u8>) {
    let tags = EnvelopeView::new(envelope).tags();
    let winners = KeySet::of(tags.clone().map(|(key, _)| key.as_bytes()));
    copy_other_fields(envelope, out, |number, entry| match number {
        field::TAGS => false,
        field::DEPRECATED_TAGS => winners.is_empty() || !winners.contains(only_key(entry)),
        _ => true,
    });
    for (key, value) in tags {
        put_deprecated_tag(out, key, TagValue::Text(value));
    }
}

/// Copies the fields for which `keep(number, content)` is true, up to the first field that is malformed.
fn copy_other_fields(envelope: &[u8], out: &mut Vec<u8>, keep: impl Fn(u32, &[u8]) -> bool) {
    out.reserve(envelope.len() + 16);
    let mut walk = Fields::new(envelope);
    // Adjacent fields that are kept are copied in one piece.
    let (mut start, mut end) = (0, 0);
    while let Some(Ok((number, value))) = walk.next() {
        let kept = match value {
            Value::Bytes(content) => keep(number, content),
            _ => number != field::TAGS && number != field::DEPRECATED_TAGS,
        };
        if !kept {
            out.extend_from_slice(&envelope[start..end]);
            start = walk.offset();
        }
        end = walk.offset();
    }
    out.extend_from_slice(&envelope[start..end]);
}

/// Returns the key of an encoded map entry.
fn only_key(entry: &[u8]) -> &[u8] {
    Tags::raw_entry(entry).0
}

/// The number of keys up to which a linear search is faster than a hash table.
const LINEAR_SEARCH_LIMIT: usize = 16;

/// A set of keys. The first few are held in an array, without allocation; the others in a hash table, so that an
/// envelope with many tags does not cost a quadratic search.
#[derive(Debug)]
pub(crate) struct KeySet<'a> {
    few: [&'a [u8]; LINEAR_SEARCH_LIMIT],
    len: usize,
    many: HashSet<&'a [u8]>,
}

impl<'a> KeySet<'a> {
    pub(crate) fn of(keys: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut set = Self {
            few: [&[]; LINEAR_SEARCH_LIMIT],
            len: 0,
            many: HashSet::new(),
        };
        for key in keys {
            if set.len < LINEAR_SEARCH_LIMIT {
                set.few[set.len] = key;
                set.len += 1;
            } else {
                set.many.insert(key);
            }
        }
        set
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.few[..self.len].contains(&key) || (!self.many.is_empty() && self.many.contains(key))
    }
}

#[cfg(test)]
mod tests;
