//! Statements and their values.

use std::borrow::Cow;
use std::fmt;

use crate::DbError;

/// A value that is bound to a statement. A null has the type of its column, which PostgreSQL requires.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Option<String>),
    /// An integer of 64 bits.
    Integer(Option<i64>),
    /// A Boolean.
    Boolean(Option<bool>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

impl fmt::Debug for Value {
    /// Shows only the type, because a value may be a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "integer",
            Self::Boolean(_) => "boolean",
            Self::Bytes(_) => "bytes",
        })
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident, $value:ident => $convert:expr;)*) => {$(
        impl From<$source> for Value {
            fn from($value: $source) -> Self {
                Self::$variant($convert)
            }
        }
    )*};
}

from! {
    &str => Text, value => Some(value.to_owned());
    &String => Text, value => Some(value.clone());
    String => Text, value => Some(value);
    Option<String> => Text, value => value;
    Option<&str> => Text, value => value.map(str::to_owned);
    i64 => Integer, value => Some(value);
    Option<i64> => Integer, value => value;
    bool => Boolean, value => Some(value);
    &[u8] => Bytes, value => Some(value.to_vec());
    Vec<u8> => Bytes, value => Some(value);
    Option<Vec<u8>> => Bytes, value => value;
}

/// A statement with `?` in place of each value.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(crate) text: Cow<'static, str>,
    pub(crate) values: Vec<Value>,
}

/// Returns a statement. Values from outside are bound, and must never be part of `text`.
#[must_use]
pub fn sql(text: impl Into<Cow<'static, str>>) -> Statement {
    Statement {
        text: text.into(),
        values: Vec::new(),
    }
}

impl Statement {
    /// Refuses a value that one of the servers would refuse, so that all servers behave alike.
    pub(crate) fn check(&self) -> Result<(), DbError> {
        let has_nul = |value: &Value| matches!(value, Value::Text(Some(text)) if text.contains('\0'));
        if self.values.iter().any(has_nul) {
            return Err(DbError::Value(None));
        }
        Ok(())
    }

    /// Binds a value to the next `?`.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Binds values to the next `?`s.
    #[must_use]
    pub fn bind_all<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.values.extend(values.into_iter().map(Into::into));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Debug` does not show bound values, which may be hashes or keys.
    #[test]
    fn debug_shows_no_values() {
        let statement = sql("select ?")
            .bind("hunter2")
            .bind(7)
            .bind(&b"k"[..])
            .bind(None::<String>);
        let shown = format!("{statement:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("[text, integer, bytes, text]"), "{shown}");
    }
}
