//! Short forms for names of tags that are too long for RFC 5424.
//!
//! A PARAM-NAME has 1 to 32 characters, and strict receivers close the connection at a longer one. A longer name is
//! written as its first 23 characters, a `-`, and its CRC-32 in 8 hexadecimal digits; an empty one as `-00000000`.
//! Readers cannot restore the whole name (docs/decisions/0007).

use std::collections::BTreeSet;

/// The longest PARAM-NAME, in bytes (RFC 5424, section 6).
const LONGEST: usize = 32;

/// How many bytes of a longer name are kept.
const KEPT: usize = 23;

/// The short names that were given out for one element.
#[derive(Debug, Default)]
pub(super) struct ShortNames {
    given: BTreeSet<String>,
    last: String,
}

impl ShortNames {
    /// Whether a name can be written unchanged.
    #[inline]
    pub(super) const fn fits(name: &str) -> bool {
        !name.is_empty() && name.len() <= LONGEST
    }

    /// Returns the short form of a name of printable ASCII.
    ///
    /// It depends on the name only, unless another tag of this element already has that name.
    pub(super) fn of(&mut self, name: &str, tags: &[(&str, &str)]) -> &str {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(name.as_bytes());
        loop {
            let hash = hasher.clone().finalize();
            self.last = format!("{}-{hash:08x}", &name[..name.len().min(KEPT)]);
            let is_taken = |other: &str| tags.binary_search_by_key(&other, |(key, _)| key).is_ok();
            if !is_taken(&self.last) && self.given.insert(self.last.clone()) {
                return &self.last;
            }
            hasher.update(b"-");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short names fit, begin as the long name does, are always alike, and differ from each other within an element.
    #[test]
    fn long_names_get_short_ones() {
        let long = "x".repeat(40);
        let longer = "x".repeat(41);
        let short = |name: &str| ShortNames::default().of(name, &[]).to_owned();
        assert_eq!(short(&long), short(&long));
        assert!(short(&long).starts_with(&format!("{}-", "x".repeat(23))) && short(&long).len() == 32);
        assert_ne!(short(&long), short(&longer));
        assert_eq!(short(""), "-00000000");
        assert!(ShortNames::fits(&"x".repeat(32)) && !ShortNames::fits(&"x".repeat(33)) && !ShortNames::fits(""));

        let taken = short(&long);
        let mut tags = [(taken.as_str(), ""), (long.as_str(), "")];
        tags.sort_unstable();
        let mut names = ShortNames::default();
        let first = names.of(&long, &tags).to_owned();
        let second = names.of(&long, &tags).to_owned();
        assert!(first != taken && second != taken && first != second);
    }
}
