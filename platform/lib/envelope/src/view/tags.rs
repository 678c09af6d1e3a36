//! Iterators over the two tag maps of an envelope.

use std::borrow::Cow;

use super::{field, fields, text};
use crate::number::{DecimalForm, put_decimal};
use crate::wire::{Fields, Value, plain_entry};

/// Iterates over the preferred tags of an envelope, `(key, value)`, in the order of the wire.
#[derive(Debug, Clone)]
pub struct Tags<'a> {
    fields: Fields<'a>,
}

impl<'a> Tags<'a> {
    pub(super) const fn new(envelope: &'a [u8]) -> Self {
        Self {
            fields: Fields::new(envelope),
        }
    }

    /// Returns key and value of an encoded entry.
    #[inline]
    pub(crate) fn entry(entry: &'a [u8]) -> (&'a str, &'a str) {
        // One UTF-8 check covers both strings: all other bytes of a plain entry are ASCII, and `get` refuses to cut
        // within a character.
        if let Some((key, _)) = plain_entry(entry)
            && let Ok(whole) = std::str::from_utf8(entry)
            && let (Some(key), Some(value)) = (whole.get(2..2 + key.len()), whole.get(4 + key.len()..))
        {
            return (key, value);
        }
        let (mut key, mut value) = ("", "");
        for (number, found) in fields(entry) {
            match (number, found) {
                (1, Value::Bytes(bytes)) => text(bytes, &mut key),
                (2, Value::Bytes(bytes)) => text(bytes, &mut value),
                _ => {}
            }
        }
        (key, value)
    }

    /// Returns key and value of an encoded entry as bytes. They are not checked for UTF-8 again, as the scan has done
    /// that.
    #[inline]
    pub(crate) fn raw_entry(entry: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        plain_entry(entry).unwrap_or_else(|| {
            let (mut key, mut value): (&[u8], &[u8]) = (b"", b"");
            for (number, found) in fields(entry) {
                match (number, found) {
                    (1, Value::Bytes(bytes)) => key = bytes,
                    (2, Value::Bytes(bytes)) => value = bytes,
                    _ => {}
                }
            }
            (key, value)
        })
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (field::TAGS, Value::Bytes(entry)) = self.fields.next()?.ok()? {
                return Some(Self::entry(entry));
            }
        }
    }
}

/// Iterates over the deprecated tags of an envelope, `(key, value)`, in the order of the wire.
#[derive(Debug, Clone)]
pub struct DeprecatedTags<'a> {
    fields: Fields<'a>,
}

impl<'a> DeprecatedTags<'a> {
    pub(super) const fn new(envelope: &'a [u8]) -> Self {
        Self {
            fields: Fields::new(envelope),
        }
    }
}

impl<'a> Iterator for DeprecatedTags<'a> {
    type Item = (&'a str, TagValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (field::DEPRECATED_TAGS, Value::Bytes(entry)) = self.fields.next()?.ok()? {
                let (mut key, mut value) = ("", TagValue::None);
                for (number, found) in fields(entry) {
                    match (number, found) {
                        (1, Value::Bytes(bytes)) => text(bytes, &mut key),
                        (2, Value::Bytes(bytes)) => value.merge(bytes),
                        _ => {}
                    }
                }
                return Some((key, value));
            }
        }
    }
}

/// The value of a deprecated tag.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum TagValue<'a> {
    /// A text.
    Text(&'a str),
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Decimal(f64),
    /// A value of which no member is set.
    #[default]
    None,
}

impl<'a> TagValue<'a> {
    /// Merges an encoded `Value` message into this value.
    fn merge(&mut self, bytes: &'a [u8]) {
        for (number, value) in fields(bytes) {
            match (number, value) {
                (1, Value::Bytes(bytes)) => {
                    let mut found = "";
                    text(bytes, &mut found);
                    *self = Self::Text(found);
                }
                (2, Value::Varint(value)) => *self = Self::Integer(value.cast_signed()),
                (3, Value::Fixed64(bits)) => *self = Self::Decimal(f64::from_bits(bits)),
                _ => {}
            }
        }
    }

    /// Returns the value as text in the form of v1 envelopes: integers in decimal, floating-point numbers with six
    /// decimal places, and an empty text for [`TagValue::None`].
    #[must_use]
    pub fn to_text(self) -> Cow<'a, str> {
        self.print(DecimalForm::SixPlaces)
    }

    /// Returns the value as text, with floating-point numbers in the given form.
    #[must_use]
    pub fn print(self, form: DecimalForm) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::Decimal(value) => {
                let mut text = String::new();
                put_decimal(&mut text, value, form);
                Cow::Owned(text)
            }
            Self::None => Cow::Borrowed(""),
        }
    }

    /// Whether the value is set.
    #[must_use]
    pub const fn is_some(self) -> bool {
        !matches!(self, Self::None)
    }
}
