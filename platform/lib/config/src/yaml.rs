//! The YAML that the original's job files are made of: a map of texts, or a list of such maps; and any other form, by
//! [`read`].
//!
//! ```yaml
//! ---
//! - url: "syslog-tls://log-cache.example:6067?include-metrics-deprecated=true"   # a comment
//!   ca: |
//!     -----BEGIN CERTIFICATE-----
//!     …
//! ```
//!
//! In maps of texts, values are texts, whatever they look like; `~`, `null` and nothing at all are the empty one. Another form
//! (nesting, a key that is there twice, a second document) is an error. Errors say where, and show keys, never values: those may be secrets.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

/// A text is not YAML of the form that is expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct YamlError(String);

impl YamlError {
    /// An error with these words, which show no secrets.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
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

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Reads a map; an empty file is an empty one.
///
/// # Errors
/// The error in the text.
pub fn map(text: &str) -> Result<Map, YamlError> {
    document(text)
}

/// Reads a list of maps; an empty file, and `[]`, are an empty one.
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
    document(text)
}

fn document<'t, T: Deserialize<'t> + Default>(text: &'t str) -> Result<T, YamlError> {
    let mut documents = serde_yaml_ng::Deserializer::from_str(text);
    let Some(first) = documents.next() else {
        return Ok(T::default());
    };
    let value = T::deserialize(first).map_err(|error| YamlError(words(&error)))?;
    match documents.next() {
        None => Ok(value),
        Some(_) => Err(YamlError::new("a second document; expected one")),
    }
}

/// The words of the library without the value that they quote: it may be a secret. The library does not name the first line.
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
                // As an option: a null is no text.
                while let Some((key, value)) = entries.next_entry::<String, Option<String>>()? {
                    if map.get(&key).is_some() {
                        return Err(A::Error::custom(format_args!("`{key}` is there twice")));
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
