//! The tags of one envelope as a map. It serves envelopes that may need more than default tags.

use std::borrow::Cow;

use weir_envelope::view::TagValue;
use weir_envelope::wire::{Fields, Value};

use super::put_tag;

/// The tags and deprecated tags of an envelope, merged and sorted by key. Of two tags with one key the later one
/// counts, and deprecated tags count as later.
#[derive(Debug)]
pub(super) struct TagMap<'a> {
    entries: Vec<Entry<'a>>,
    /// The value of the tag `origin`, taken from `tags` if it is there, else from the deprecated ones. It is read
    /// before the merge, which would overwrite the former.
    origin: Option<Cow<'a, str>>,
}

#[derive(Debug)]
struct Entry<'a> {
    key: &'a str,
    value: Cow<'a, str>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The tag is in the envelope's `tags`.
    Present,
    /// The tag must be added.
    New,
    /// The tag must be added, and the one with the same key in the envelope's `tags` must be removed.
    Replaced,
}

impl<'a> TagMap<'a> {
    pub(super) fn read(
        tags: impl Iterator<Item = (&'a str, &'a str)>,
        deprecated: impl Iterator<Item = (&'a str, TagValue<'a>)>,
    ) -> Self {
        let preferred = tags.map(|(key, value)| Entry {
            key,
            value: Cow::Borrowed(value),
            state: State::Present,
        });
        let copied = deprecated.map(|(key, value)| Entry {
            key,
            value: print(value),
            state: State::New,
        });
        let mut entries: Vec<Entry<'a>> = preferred.chain(copied).collect();
        let origin = origin(&entries);
        // The sort is stable, so equal keys keep their order on the wire, and the last one wins below.
        entries.sort_by_key(|entry| entry.key);
        entries.dedup_by(|later, earlier| {
            let same = later.key == earlier.key;
            if same {
                earlier.state = match (earlier.state, later.state) {
                    // The key occurs twice in `tags`. Every protobuf reader takes the last one, so nothing has to change.
                    (State::Present, State::Present) => State::Present,
                    (State::New, _) => State::New,
                    _ if earlier.state == State::Present && earlier.value == later.value => State::Present,
                    _ => State::Replaced,
                };
                earlier.value = std::mem::take(&mut later.value);
            }
            same
        });
        Self { entries, origin }
    }

    /// Takes the value that becomes the source id of an envelope without one.
    pub(super) fn origin(&mut self) -> Option<Cow<'a, str>> {
        self.origin.take()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.entries.iter().map(|entry| entry.key)
    }

    /// Returns the key and value of each tag, sorted by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (entry.key, entry.value.as_ref()))
    }

    /// Adds a tag. The caller must know that there is none with this key.
    pub(super) fn insert_default(&mut self, key: &'a str, value: &'a str) {
        let at = self.entries.partition_point(|entry| entry.key < key);
        self.entries.insert(
            at,
            Entry {
                key,
                value: Cow::Borrowed(value),
                state: State::New,
            },
        );
    }

    pub(super) fn changed(&self) -> bool {
        self.entries.iter().any(|entry| entry.state != State::Present)
    }

    pub(super) fn has_replaced(&self) -> bool {
        self.entries.iter().any(|entry| entry.state == State::Replaced)
    }

    pub(super) fn is_replaced(&self, key: &[u8]) -> bool {
        self.entries
            .binary_search_by(|entry| entry.key.as_bytes().cmp(key))
            .is_ok_and(|index| self.entries[index].state == State::Replaced)
    }

    /// Appends the tags that the envelope does not contain yet, encoded, to `out`.
    pub(super) fn append_new(&self, out: &mut Vec<u8>) {
        for entry in self.entries.iter().filter(|entry| entry.state != State::Present) {
            put_tag(out, entry.key, &entry.value);
        }
    }
}

/// Returns the tag `origin` of `tags`, or else that of the deprecated tags.
fn origin<'a>(entries: &[Entry<'a>]) -> Option<Cow<'a, str>> {
    let last_of = |state| {
        entries
            .iter()
            .rfind(|entry| entry.key == "origin" && entry.state == state)
            .map(|entry| entry.value.clone())
    };
    last_of(State::Present).or_else(|| last_of(State::New))
}

/// Formats a tag value as the original's agents do: decimals in their shortest form without an exponent. (The
/// original's router prints six decimal places.)
fn print(value: TagValue<'_>) -> Cow<'_, str> {
    match value {
        TagValue::Decimal(value) if value.is_finite() => Cow::Owned(value.to_string()),
        other => other.to_text(),
    }
}

/// Returns the key of an encoded map entry, or an empty slice if it has none.
#[inline]
pub(super) fn entry_key(entry: &[u8]) -> &[u8] {
    // Fast path: encoders write the key first and once, followed by at most one value that ends the entry.
    if let [0x0a, len @ 0..0x80, rest @ ..] = entry
        && let Some((key, value)) = rest.split_at_checked(usize::from(*len))
    {
        let regular = match value {
            [] => true,
            [0x12, len @ 0..0x80, value @ ..] => value.len() == usize::from(*len),
            [0x12, low, high @ 0..0x80, value @ ..] => value.len() == usize::from(low & 0x7f) | usize::from(*high) << 7,
            _ => false,
        };
        if regular {
            return key;
        }
    }
    Fields::new(entry)
        .map_while(Result::ok)
        .filter_map(|(number, value)| match (number, value) {
            (1, Value::Bytes(key)) => Some(key),
            _ => None,
        })
        .last()
        .unwrap_or_default()
}
