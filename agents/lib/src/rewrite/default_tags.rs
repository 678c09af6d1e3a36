//! The tags that an agent adds to envelopes without them: its deployment, job, index and address.

use super::put_tag;

/// The largest number of default tags. Each has one bit in [`Missing`].
const MAX_TAGS: usize = 64;

/// The default tags of an agent, encoded once.
#[derive(Debug, Default)]
pub struct DefaultTags {
    tags: Vec<DefaultTag>,
    /// All tags encoded one after the other. Most envelopes have none of them, and get these bytes in one copy.
    encoded: Vec<u8>,
}

#[derive(Debug)]
struct DefaultTag {
    key: String,
    value: String,
    encoded: Vec<u8>,
}

/// The set of default tags that an envelope does not have, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing(u64);

impl Missing {
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Removes the tag with the key `key` from the set.
    #[inline]
    pub(super) fn found(&mut self, defaults: &DefaultTags, key: &[u8]) {
        for (index, tag) in defaults.tags.iter().enumerate() {
            if tag.key.as_bytes() == key {
                self.0 &= !(1 << index);
            }
        }
    }
}

impl DefaultTags {
    /// Creates default tags from `pairs`. Returns `None` if there are more than 64, or if two have the same key.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Option<Self> {
        let mut defaults = Self::default();
        for (key, value) in pairs {
            if defaults.tags.len() == MAX_TAGS || defaults.tags.iter().any(|tag| tag.key == key) {
                return None;
            }
            let mut encoded = Vec::new();
            put_tag(&mut encoded, &key, &value);
            defaults.encoded.extend_from_slice(&encoded);
            defaults.tags.push(DefaultTag { key, value, encoded });
        }
        Some(defaults)
    }

    /// Returns the set of all default tags.
    pub(super) fn all(&self) -> Missing {
        Missing(u64::MAX.checked_shr(u64::BITS - bits(self.tags.len())).unwrap_or(0))
    }

    /// Returns the key and value of each tag in `missing`.
    pub(super) fn iter(&self, missing: Missing) -> impl Iterator<Item = (&str, &str)> {
        self.missing(missing).map(|tag| (tag.key.as_str(), tag.value.as_str()))
    }

    /// Returns the encoded size in bytes of all tags.
    pub(super) const fn byte_len(&self) -> usize {
        self.encoded.len()
    }

    /// Returns the encoded tags if `missing` is the set of all tags.
    pub(super) fn encoded(&self, missing: Missing) -> Option<&[u8]> {
        (missing == self.all()).then_some(self.encoded.as_slice())
    }

    /// Appends the tags in `missing`, encoded, to `out`.
    pub(super) fn append(&self, missing: Missing, out: &mut Vec<u8>) {
        for tag in self.missing(missing) {
            out.extend_from_slice(&tag.encoded);
        }
    }

    fn missing(&self, missing: Missing) -> impl Iterator<Item = &DefaultTag> {
        self.tags
            .iter()
            .enumerate()
            .filter(move |(index, _)| missing.0 >> index & 1 == 1)
            .map(|(_, tag)| tag)
    }
}

fn bits(count: usize) -> u32 {
    u32::try_from(count).expect("at most 64 tags")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> Option<DefaultTags> {
        DefaultTags::new((0..count).map(|index| (format!("k{index}"), "v".to_owned())))
    }

    #[test]
    fn counts_from_none_to_sixty_four() {
        assert!(numbered(0).unwrap().all().is_empty());
        assert_eq!(numbered(4).unwrap().all(), Missing(0b1111));
        assert_eq!(numbered(64).unwrap().all(), Missing(u64::MAX));
        assert!(numbered(65).is_none());
        let twice = [("a".to_owned(), String::new()), ("a".to_owned(), String::new())];
        assert!(DefaultTags::new(twice).is_none());
    }
}
