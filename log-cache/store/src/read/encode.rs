//! Encodes rows as envelopes.

use weir_envelope::batch::Kind;
use weir_envelope::view::Stream;
use weir_envelope::wire::{put_bytes, put_double, put_uint, put_varint, varint_len};

use super::Metrics;
use crate::rows::Rows;
use crate::shape::{numbers, pair};

/// Appends the `Envelope` message of a row.
pub(super) fn envelope(out: &mut Vec<u8>, rows: &Rows, row: usize, metrics: Metrics<'_>) {
    let identity = rows.identity(row);
    put_uint(out, 1, rows.timestamps()[row].cast_unsigned());
    if !identity.source().id().is_empty() {
        put_bytes(out, 2, identity.source().id().as_bytes());
    }
    out.extend_from_slice(identity.head());
    let payload = rows.payload(row);
    match rows.kind() {
        Kind::Log => log(out, payload, rows.stream(row)),
        Kind::Event => put_bytes(out, 10, payload),
        Kind::None => {}
        Kind::Counter | Kind::Gauge | Kind::Timer => {
            let shape = &rows.shapes()[rows.shape_index(row)];
            // A few dozen bytes. To avoid the allocation, the length would have to be computed in advance, which is not
            // worth the code.
            let mut message = Vec::with_capacity(64);
            let field = match rows.kind() {
                Kind::Gauge => {
                    let values = shape.metrics().zip(numbers(payload)).enumerate();
                    for (index, ((name, unit), bits)) in values {
                        if metrics.shows(index) {
                            gauge_metric(&mut message, name, unit, f64::from_bits(bits));
                        }
                    }
                    6
                }
                kind => {
                    let (first, second) = pair(payload);
                    put_text(&mut message, 1, shape.name());
                    put_uint(&mut message, 2, first);
                    put_uint(&mut message, 3, second);
                    if kind == Kind::Counter { 5 } else { 7 }
                }
            };
            put_bytes(out, field, &message);
        }
    }
}

/// Appends the `Log` field of an envelope.
fn log(out: &mut Vec<u8>, payload: &[u8], stream: Stream) {
    let text = if payload.is_empty() {
        0
    } else {
        1 + varint_len(payload.len() as u64) + payload.len()
    };
    let err = stream == Stream::Err;
    put_varint(out, 4 << 3 | 2);
    put_varint(out, (text + if err { 2 } else { 0 }) as u64);
    if !payload.is_empty() {
        put_bytes(out, 1, payload);
    }
    put_uint(out, 2, u64::from(err));
}

/// Appends an entry of `Gauge.metrics`.
fn gauge_metric(out: &mut Vec<u8>, name: &str, unit: &str, value: f64) {
    let mut gauge_value = Vec::with_capacity(32);
    put_text(&mut gauge_value, 1, unit);
    put_double(&mut gauge_value, 2, value);
    let mut entry = Vec::with_capacity(64);
    put_bytes(&mut entry, 1, name.as_bytes());
    put_bytes(&mut entry, 2, &gauge_value);
    put_bytes(out, 1, &entry);
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

impl Metrics<'_> {
    fn shows(self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(shown) => shown.get(index).copied().unwrap_or(false),
        }
    }
}
