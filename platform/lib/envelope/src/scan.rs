//! One validating pass over the bytes of an envelope.
//!
//! Every envelope that enters the stack is checked here once: structure, wire types and UTF-8, down to the innermost
//! message that `loggregator.v2` defines. After that its bytes can be passed to any client (Go's protobuf refuses a
//! whole batch for one bad string), and views can read it without errors. Unknown fields are skipped, as the protobuf
//! specification asks.

use crate::batch::Kind;
use crate::wire::{Fields, Value, WireError, is_utf8, plain_entry};

/// The facts that routing needs of one envelope.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) source_id: &'a str,
    pub(crate) kind: Kind,
    pub(crate) deprecated_tags: bool,
}

/// Validates `envelope` and returns the facts that routing needs.
pub(crate) fn scan(envelope: &[u8]) -> Result<Head<'_>, WireError> {
    let mut head = Head {
        source_id: "",
        kind: Kind::None,
        deprecated_tags: false,
    };
    for field in Fields::new(envelope) {
        let (number, value) = field?;
        match number {
            1 => drop(value.varint(1)?),
            2 => head.source_id = value.text(2)?,
            3 => {
                head.deprecated_tags = true;
                map_entry(value.bytes(3)?, |tag| data_value(tag.bytes(2)?))?;
            }
            // Each payload replaces the kind of the one before, as in a oneof.
            4 => head.kind = checked(Kind::Log, log(value.bytes(4)?))?,
            5 => head.kind = checked(Kind::Counter, counter(value.bytes(5)?))?,
            6 => head.kind = checked(Kind::Gauge, gauge(value.bytes(6)?))?,
            7 => head.kind = checked(Kind::Timer, timer(value.bytes(7)?))?,
            8 => text(value, 8)?,
            9 => tag_entry(value.bytes(9)?)?,
            10 => head.kind = checked(Kind::Event, event(value.bytes(10)?))?,
            _ => {}
        }
    }
    Ok(head)
}

/// Checks that a field is a valid string.
#[inline]
fn text(value: Value<'_>, field: u32) -> Result<(), WireError> {
    if is_utf8(value.bytes(field)?) {
        Ok(())
    } else {
        Err(WireError::NotUtf8(field))
    }
}

/// Checks an entry of the preferred tags. Most bytes of most envelopes are such entries, so there is a short cut.
#[inline]
fn tag_entry(entry: &[u8]) -> Result<(), WireError> {
    // The keys and lengths of a plain entry are below 128 and so ASCII themselves: one test covers both strings.
    if plain_entry(entry).is_some() && entry.is_ascii() {
        return Ok(());
    }
    map_entry(entry, |tag| text(tag, 2))
}

/// Returns `kind` if its payload is well formed.
fn checked(kind: Kind, check: Result<(), WireError>) -> Result<Kind, WireError> {
    check.map(|()| kind)
}

/// Checks a map entry: a message with a string key (field 1) and a value (field 2).
#[inline]
fn map_entry<'a>(entry: &'a [u8], check_value: impl Fn(Value<'a>) -> Result<(), WireError>) -> Result<(), WireError> {
    each(entry, |number, value| match number {
        1 => text(value, 1),
        2 => check_value(value),
        _ => Ok(()),
    })
}

fn data_value(message: &[u8]) -> Result<(), WireError> {
    each(message, |number, value| match number {
        1 => text(value, 1),
        2 => value.varint(2).map(drop),
        3 => value.double(3).map(drop),
        _ => Ok(()),
    })
}

fn log(message: &[u8]) -> Result<(), WireError> {
    each(message, |number, value| match number {
        1 => value.bytes(1).map(drop),
        2 => value.varint(2).map(drop),
        _ => Ok(()),
    })
}

fn counter(message: &[u8]) -> Result<(), WireError> {
    each(message, |number, value| match number {
        1 => text(value, 1),
        2 | 3 => value.varint(number).map(drop),
        _ => Ok(()),
    })
}

fn gauge(message: &[u8]) -> Result<(), WireError> {
    each(message, |number, value| match number {
        1 => map_entry(value.bytes(1)?, |metric| {
            each(metric.bytes(2)?, |number, value| match number {
                1 => text(value, 1),
                2 => value.double(2).map(drop),
                _ => Ok(()),
            })
        }),
        _ => Ok(()),
    })
}

fn timer(message: &[u8]) -> Result<(), WireError> {
    each(message, |number, value| match number {
        1 => text(value, 1),
        2 | 3 => value.varint(number).map(drop),
        _ => Ok(()),
    })
}

fn event(message: &[u8]) -> Result<(), WireError> {
    each(message, |number, value| match number {
        1 | 2 => text(value, number),
        _ => Ok(()),
    })
}

/// Calls `check` with the number and value of each field of `message`.
#[inline]
fn each<'a>(
    message: &'a [u8],
    mut check: impl FnMut(u32, Value<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    for field in Fields::new(message) {
        let (number, value) = field?;
        check(number, value)?;
    }
    Ok(())
}
