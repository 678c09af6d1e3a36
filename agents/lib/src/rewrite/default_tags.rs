//! The tags that an agent adds to whatever lacks them: its deployment, job, index and address.

use super::put_tag;

/// Most default tags: one bit each.
const MAX_TAGS: usize = 64;

/// Default tags, encoded once.
#[derive(Debug, Default)]
pub struct DefaultTags {
    tags: Vec<DefaultTag>,
    /// All of them, one after the other: mostly nothing of it is there yet.
    encoded: Vec<u8>,
}

#[derive(Debug)]
struct DefaultTag {
    key: String,
    value: String,
    encoded: Vec<u8>,
}

/// Which of the default tags are still to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing(u64);

impl Missing {
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Key `key` is there.
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
    /// The tags of `pairs`; `None` if there are more than 64, or a key twice.
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

    /// All of them.
    pub(super) fn all(&self) -> Missing {
        Missing(u64::MAX.checked_shr(u64::BITS - bits(self.tags.len())).unwrap_or(0))
    }

    /// Those that are missing.
    pub(super) fn iter(&self, missing: Missing) -> impl Iterator<Item = (&str, &str)> {
        self.missing(missing).map(|tag| (tag.key.as_str(), tag.value.as_str()))
    }

    /// Bytes of all of them, encoded.
    pub(super) const fn byte_len(&self) -> usize {
        self.encoded.len()
    }

    /// Those that are missing, encoded, where that is all of them.
    pub(super) fn encoded(&self, missing: Missing) -> Option<&[u8]> {
        (missing == self.all()).then_some(self.encoded.as_slice())
    }

    /// Appends those that are missing to an encoded envelope.
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
