//! The errors that serde finds in a configuration, each with its place.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::node::Step;

/// A fault that serde has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The key is unknown. These keys are known in its table.
    UnknownKey(&'static [&'static str]),
    /// The value is not one of these words.
    UnknownWord(&'static [&'static str]),
    /// The table has no value for this key, which needs one.
    Missing(&'static str),
    /// The value is not of the expected form, which is described in words.
    Unexpected(String),
    /// An error text of the type itself.
    Other(String),
}

/// The error type of the deserializer. It keeps the innermost place at which it was seen.
#[derive(Debug, Clone)]
pub(crate) struct DeError {
    pub(crate) fault: Fault,
    pub(crate) path: Option<Vec<Step>>,
    /// Whether the value is a secret, which must not be shown.
    pub(crate) secret: bool,
}

impl DeError {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            path: None,
            secret: false,
        }
    }

    /// Adds the place, unless a more precise one is known already.
    pub(crate) fn at(mut self, path: &[Step]) -> Self {
        self.path.get_or_insert_with(|| path.to_vec());
        self
    }

    pub(crate) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

impl fmt::Display for DeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::UnknownKey(_) => formatter.write_str("unknown key"),
            Fault::UnknownWord(words) => {
                formatter.write_str("must be ")?;
                words.iter().enumerate().try_for_each(|(index, word)| {
                    let separator = match index {
                        0 => "",
                        last if last + 1 == words.len() => " or ",
                        _ => ", ",
                    };
                    write!(formatter, "{separator}`{word}`")
                })
            }
            Fault::Missing(name) => write!(formatter, "`{name}` must be set"),
            Fault::Unexpected(expected) => write!(formatter, "must be {expected}"),
            Fault::Other(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for DeError {}

impl de::Error for DeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Fault::Other(message.to_string()))
    }

    fn invalid_type(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Fault::Unexpected(in_words(&expected.to_string())))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownWord(expected))
    }

    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownKey(expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Fault::Missing(field))
    }
}

/// Translates the expectation of a serde visitor into words for operators.
fn in_words(expected: &str) -> String {
    match expected {
        "u8" => "an integer from 0 to 255".to_owned(),
        "u16" => "an integer from 0 to 65535".to_owned(),
        "u32" | "u64" | "usize" => "an integer of at least 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "an integer".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a nonzero u16" => "an integer from 1 to 65535".to_owned(),
        _ if expected.starts_with("a nonzero u") => "an integer of at least 1".to_owned(),
        "a sequence" => "a list".to_owned(),
        "path string" => "a path".to_owned(),
        _ if expected.starts_with("struct ") || expected == "a map" => "a table".to_owned(),
        _ => expected.to_owned(),
    }
}
