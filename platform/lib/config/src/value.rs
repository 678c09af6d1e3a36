//! The types of values with a syntax of their own: sizes, durations, addresses and secrets.

mod address;
mod byte_size;
mod duration;
mod secret;

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Unexpected, Visitor};
use thiserror::Error;

pub(crate) use address::{LISTEN as LISTEN_ADDR, PEER as PEER_ADDR};
pub use address::{ListenAddr, PeerAddr};
pub use byte_size::ByteSize;
pub(crate) use byte_size::EXPECTED as BYTE_SIZE;
pub use duration::Duration;
pub(crate) use duration::EXPECTED as DURATION;
pub(crate) use secret::NAME as SECRET;
pub use secret::Secret;

/// The error of a text that is no value of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be {expected}")]
pub struct ValueError {
    pub(crate) expected: &'static str,
}

/// A serde visitor that parses a value from text.
struct Parsed<T> {
    expected: &'static str,
    value: PhantomData<T>,
}

impl<T> Parsed<T> {
    const fn new(expected: &'static str) -> Self {
        Self {
            expected,
            value: PhantomData,
        }
    }
}

impl<T: FromStr<Err = ValueError>> Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Splits a text such as `1.5GiB` into the whole number, the thousandths, and the unit.
fn number_and_unit(text: &str) -> Option<(u64, u64, &str)> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
    let number = text.strip_suffix(unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // A fourth digit would have to be rounded, and a setting must not mean something else than it says.
    if fraction.is_empty() || fraction.len() > 3 {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse().ok()?;
    Some((whole.parse().ok()?, thousandths, unit.trim_start()))
}

/// Computes `(whole + thousandths / 1000) * unit`. Returns `None` if the result is not a whole number or does not fit.
fn scaled(whole: u64, thousandths: u64, unit: u64) -> Option<u64> {
    let parts = thousandths.checked_mul(unit)?;
    if parts % 1000 != 0 {
        return None;
    }
    whole.checked_mul(unit)?.checked_add(parts / 1000)
}
