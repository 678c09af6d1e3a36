//! The description of a configuration's keys: their text, their shape and the allowed values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::value::{BYTE_SIZE, DURATION, LISTEN_ADDR, PEER_ADDR};
use crate::{ByteSize, Duration, ListenAddr, PeerAddr, Problems, Secret};

/// A value or a table of a configuration. Tables derive this trait together with [`Default`]; see [`crate`] for an
/// example.
pub trait Setting: Serialize {
    /// The form of the value.
    fn shape() -> Shape;

    /// Adds a problem for every value that is not allowed. `key` is the key of this value, and empty for the whole
    /// configuration.
    fn check(&self, _key: &str, _problems: &mut Problems) {}

    /// The problems of all values that are not allowed.
    fn problems(&self) -> Problems {
        let mut problems = Problems::default();
        self.check("", &mut problems);
        problems
    }
}

/// The form of a value: one value, a list, a table or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A single value. The words complete the sentence "must be".
    Value(&'static str),
    /// A table with these keys.
    Table(Vec<Key>),
    /// A list of values of one shape.
    List(Box<Shape>),
    /// A table of values of one shape, under names that the operator chooses.
    Map(Box<Shape>),
}

/// A key of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The name of the key in its table.
    pub name: &'static str,
    /// The meaning of the value. Paragraphs are separated by line feeds.
    pub text: &'static str,
    /// The allowed values, if not every value of the type is allowed. The words complete the sentence "must be".
    pub allowed: Option<String>,
    /// The form of the value.
    pub shape: Shape,
}

/// Implements [`Setting`] for types that are single values.
macro_rules! values {
    ($($kind:ty => $words:expr),* $(,)?) => {$(
        impl Setting for $kind {
            fn shape() -> Shape {
                Shape::Value($words)
            }
        }
    )*};
}

values! {
    bool => "`true` or `false`",
    u16 => "a number",
    u32 => "a number",
    u64 => "a number",
    usize => "a number",
    f64 => "a number",
    String => "a text",
    PathBuf => "a path",
    ByteSize => BYTE_SIZE,
    Duration => DURATION,
    ListenAddr => LISTEN_ADDR,
    PeerAddr => PEER_ADDR,
}

impl<T: Setting> Setting for Secret<T> {
    fn shape() -> Shape {
        T::shape()
    }
}

impl<T: Setting> Setting for Option<T> {
    fn shape() -> Shape {
        T::shape()
    }

    fn check(&self, key: &str, problems: &mut Problems) {
        if let Some(value) = self {
            value.check(key, problems);
        }
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn check(&self, key: &str, problems: &mut Problems) {
        for (index, value) in self.iter().enumerate() {
            value.check(&format!("{key}[{index}]"), problems);
        }
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    fn shape() -> Shape {
        Shape::Map(Box::new(T::shape()))
    }

    fn check(&self, key: &str, problems: &mut Problems) {
        for (name, value) in self {
            value.check(&derived::below(key, name), problems);
        }
    }
}

/// The functions that derived code calls.
#[doc(hidden)]
pub mod derived {
    use std::fmt::Debug;
    use std::str::FromStr;

    /// Parses a default or a bound that stands in the source as text.
    #[must_use]
    pub fn parse<T: FromStr<Err: Debug>>(text: &str) -> T {
        text.parse()
            .expect("a default or a bound in the source is of its field's type")
    }

    /// Whether a value lies between its bounds, which are allowed values themselves.
    pub fn within<T: PartialOrd>(value: &T, min: Option<&T>, max: Option<&T>) -> bool {
        min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max)
    }

    /// Whether a condition holds for a value. Derived code calls it because it gives a closure the type of its
    /// parameter.
    pub fn holds<T>(value: &T, condition: impl FnOnce(&T) -> bool) -> bool {
        condition(value)
    }

    /// The full key of `name` in the table with the key `table`.
    #[must_use]
    pub fn below(table: &str, name: &str) -> String {
        if table.is_empty() {
            name.to_owned()
        } else {
            format!("{table}.{name}")
        }
    }
}
