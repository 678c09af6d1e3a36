//! The tags of one envelope as a map, for the envelopes where more than a default may be missing.

use std::borrow::Cow;

use weir_envelope::view::TagValue;
use weir_envelope::wire::{Fields, Value};

use super::put_tag;

/// Both tag maps merged, sorted by key; of the same key the later one counts, and a deprecated tag counts as later.
#[derive(Debug)]
pub(super) struct TagMap<'a> {
    entries: Vec<Entry<'a>>,
    /// What the tag `origin` says, preferred tag first: asked before the maps are merged.
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
    /// In the envelope's tags.
    Present,
    /// To be added.
    New,
    /// To be added, and what is there under that key to be removed.
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
        // Stable, so that among equal keys the wire's order holds and the last one is the one that counts.
        entries.sort_by_key(|entry| entry.key);
        entries.dedup_by(|later, earlier| {
            let same = later.key == earlier.key;
            if same {
                earlier.state = match (earlier.state, later.state) {
                    // Twice in the tags: the envelope says so itself.
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

    /// What an envelope without a source id is known by.
    pub(super) fn origin(&mut self) -> Option<Cow<'a, str>> {
        self.origin.take()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.entries.iter().map(|entry| entry.key)
    }

    /// Key and value of each tag, sorted by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (entry.key, entry.value.as_ref()))
    }

    /// Adds a tag that is not there.
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

    /// Appends what is not in the envelope yet.
    pub(super) fn append_new(&self, out: &mut Vec<u8>) {
        for entry in self.entries.iter().filter(|entry| entry.state != State::Present) {
            put_tag(out, entry.key, &entry.value);
        }
    }
}

/// Tag `origin` of the preferred tags, else of the deprecated ones if it is text.
fn origin<'a>(entries: &[Entry<'a>]) -> Option<Cow<'a, str>> {
    let last_of = |state| {
        entries
            .iter()
            .rfind(|entry| entry.key == "origin" && entry.state == state)
            .map(|entry| entry.value.clone())
    };
    last_of(State::Present).or_else(|| last_of(State::New))
}

/// As agents print tag values: decimals in the shortest form without an exponent. (The router prints six places.)
fn print(value: TagValue<'_>) -> Cow<'_, str> {
    match value {
        TagValue::Decimal(value) if value.is_finite() => Cow::Owned(value.to_string()),
        other => other.to_text(),
    }
}

/// The key of a map entry, as bytes; empty if it has none.
#[inline]
pub(super) fn entry_key(entry: &[u8]) -> &[u8] {
    // Encoders write the key first, and once: then what follows is one value that ends the entry.
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
