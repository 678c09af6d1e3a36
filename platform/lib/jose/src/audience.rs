//! The claim `aud`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// The audience of a token: a text, or a list of texts (RFC 7519, section 4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience(Vec<String>);

impl Audience {
    /// Whether `wanted` is one of the names, to the letter.
    #[must_use]
    pub fn contains(&self, wanted: &str) -> bool {
        self.iter().any(|name| name == wanted)
    }

    /// Returns all names, in the order of the token.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Audience;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Audience, E> {
                Ok(Audience(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Audience, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = list.next_element()? {
                    all.push(text);
                }
                Ok(Audience(all))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text and a list of texts are audiences; nothing else is.
    #[test]
    fn texts_and_lists_are_audiences() {
        let audience = |json: &str| serde_json::from_str::<Audience>(json);
        assert!(audience(r#""logs""#).unwrap().contains("logs"));
        let list = audience(r#"["cf","logs"]"#).unwrap();
        assert!(list.contains("logs") && !list.contains("log"));
        assert_eq!(list.iter().count(), 2);
        for odd in ["{}", "7", "null", "[7]", r#"[["logs"]]"#] {
            assert!(audience(odd).is_err(), "{odd}");
        }
    }
}
