//! The YAML of the original's job files: a map of texts, or a list of such maps; and any other form, by [`read`].
//!
//! ```yaml
//! ---
//! - url: "syslog-tls://log-cache.example:6067?include-metrics-deprecated=true"   # a comment
//!   ca: |
//!     -----BEGIN CERTIFICATE-----
//!     …
//! ```
//!
//! In maps of texts, every value is read as text, even if it looks like a number. `~`, `null` and an absent value are the
//! empty text. Another form (nesting, a key that stands there twice, a second document) is an error. Errors contain the
//! line and keys, but never values, which may be secrets.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

/// The error of a text that is not YAML of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct YamlError(String);

impl YamlError {
    /// An error with this text, which must not contain secrets.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A map of texts, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(Vec<(String, String)>);

impl Map {
    /// The text at `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The keys in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Reads a map. An empty file is an empty map.
///
/// # Errors
/// The error in the text.
pub fn map(text: &str) -> Result<Map, YamlError> {
    document(text)
}

/// Reads a list of maps. An empty file is an empty list, and so is `[]`.
///
/// # Errors
/// The error in the text.
pub fn list(text: &str) -> Result<Vec<Map>, YamlError> {
    document::<List>(text).map(|list| list.0)
}

/// Reads a value of any form; an empty file is its default. JSON is read as well.
///
/// # Errors
/// The error in the text. It shows the names of keys, and of enumerations' values: a secret must not be one of these.
pub fn read<T: DeserializeOwned + Default>(text: &str) -> Result<T, YamlError> {
    // An empty file is a document that is null, which a structure would take for a map without its fields.
    document::<Option<T>>(text).map(Option::unwrap_or_default)
}

fn document<'t, T: Deserialize<'t> + Default>(text: &'t str) -> Result<T, YamlError> {
    let mut documents = serde_yaml_ng::Deserializer::from_str(text);
    let Some(first) = documents.next() else {
        return Ok(T::default());
    };
    let value = T::deserialize(first).map_err(|error| YamlError(words(&error)))?;
    // A second document would otherwise be ignored without a word.
    match documents.next() {
        None => Ok(value),
        Some(_) => Err(YamlError::new("a second document; expected one")),
    }
}

/// The error text of the library, without the value that it quotes, which may be a secret. The line is added where it
/// is the first one, because the library leaves that out.
fn words(error: &serde_yaml_ng::Error) -> String {
    let error = error.to_string();
    let mut words = match (error.find('"'), error.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}…{}", &error[..first], &error[last + 1..]),
        _ => error,
    };
    if !words.contains(" at line ") {
        words.push_str(" at line 1");
    }
    words
}

#[derive(Default)]
struct List(Vec<Map>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> Visitor<'de> for Items {
            type Value = List;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of `- key: value`")
            }

            fn visit_none<E: serde::de::Error>(self) -> Result<List, E> {
                Ok(List::default())
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<List, E> {
                Ok(List::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List, A::Error> {
                let mut list = List::default();
                while let Some(item) = items.next_element::<Map>()? {
                    if item.0.is_empty() {
                        return Err(A::Error::custom("an empty list item; expected `- key: value`"));
                    }
                    list.0.push(item);
                }
                Ok(list)
            }
        }

        deserializer.deserialize_any(Items)
    }
}

impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Map;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`key: value`")
            }

            fn visit_none<E: serde::de::Error>(self) -> Result<Map, E> {
                Ok(Map::default())
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Map, E> {
                Ok(Map::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Map, A::Error> {
                let mut map = Map::default();
                // Values are read as options because serde does not accept a null as text.
                while let Some((key, value)) = entries.next_entry::<String, Option<String>>()? {
                    if map.get(&key).is_some() {
                        return Err(A::Error::custom(format_args!("`{key}` stands there twice")));
                    }
                    map.0.push((key, value.unwrap_or_default()));
                }
                Ok(map)
            }
        }

        deserializer.deserialize_any(Entries)
    }
}

#[cfg(test)]
mod tests;
