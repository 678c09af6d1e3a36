//! The two tag maps of an envelope, folded into one or the other, raw to raw.
//!
//! An envelope has typed `deprecated_tags` and textual `tags`. A reverse log proxy hands a consumer all of them in the
//! one map that its request prefers (logging §9):
//!
//! ```text
//! prefer_tags     tags := tags ∪ deprecated_tags, where the deprecated value wins, printed; deprecated_tags := ∅
//! deprecate_tags  deprecated_tags := deprecated_tags ∪ tags, where the tag wins, as text; tags := ∅
//! ```
//!
//! Both take an encoded envelope that was validated when its batch was split, and append the new one to a buffer; all
//! other fields are copied as they are, unknown ones too. A deprecated value without any data is no tag.

use std::collections::HashSet;

use crate::encode::put_deprecated_tag;
use crate::number::DecimalForm;
use crate::view::{EnvelopeView, TagValue, Tags, field};
use crate::wire::{Fields, Value, put_entry};

/// Appends `envelope` to `out` with all of its tags in `tags`; whole numbers in decimal, others in their shortest form.
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

/// Appends `envelope` to `out` with all of its tags in `deprecated_tags`; those that were in `tags` as text.
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

/// Copies the fields for which `keep(number, content)` holds, up to the first that is malformed.
fn copy_other_fields(envelope: &[u8], out: &mut Vec<u8>, keep: impl Fn(u32, &[u8]) -> bool) {
    out.reserve(envelope.len() + 16);
    let mut walk = Fields::new(envelope);
    // Neighbours that are kept are copied at once.
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

/// The key of an encoded map entry.
fn only_key(entry: &[u8]) -> &[u8] {
    Tags::raw_entry(entry).0
}

/// Keys that are searched one by one.
const FEW: usize = 16;

/// A few keys; or many, without a quadratic search.
#[derive(Debug)]
pub(crate) struct KeySet<'a> {
    few: [&'a [u8]; FEW],
    len: usize,
    many: HashSet<&'a [u8]>,
}

impl<'a> KeySet<'a> {
    pub(crate) fn of(keys: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut set = Self {
            few: [&[]; FEW],
            len: 0,
            many: HashSet::new(),
        };
        for key in keys {
            if set.len < FEW {
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
