//! Names of tags that RFC 5424 has no room for.
//!
//! A PARAM-NAME has 1 to 32 characters. Receivers that keep to that close the connection at a longer one, so a longer one is
//! written as its first 23 characters, a `-`, and 8 hexadecimal digits of its checksum; an empty one as `-00000000`. The
//! whole name is not restored by those who read it.

use std::collections::BTreeSet;

/// Longest PARAM-NAME (RFC 5424, section 6).
const LONGEST: usize = 32;

/// How much of a longer one stays.
const KEPT: usize = 23;

/// The short names of one element.
#[derive(Debug, Default)]
pub(super) struct ShortNames {
    given: BTreeSet<String>,
    last: String,
}

impl ShortNames {
    /// Whether a name can be written as it is.
    #[inline]
    pub(super) const fn fits(name: &str) -> bool {
        !name.is_empty() && name.len() <= LONGEST
    }

    /// The short form of a name of printable ASCII: always the one, unless another tag of this element has it.
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

    /// Short names fit, can be recognised, are always the same, and differ within an element.
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
