//! The protobuf wire format: varints, keys, and a strict iterator over the fields of a borrowed slice.
//!
//! The module follows the protobuf encoding specification for wire types 0, 1, 2 and 5. Groups are refused, as no
//! message of Loggregator has any. Readers do not allocate, copy or panic, whatever the bytes are.

use thiserror::Error;

/// The reason why bytes are not a valid protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The slice ends inside a varint, a fixed value or a length-delimited field.
    #[error("message is truncated")]
    Truncated,
    /// A varint is longer than ten bytes.
    #[error("varint is longer than 10 bytes")]
    VarintTooLong,
    /// A field number is zero or above 2^29-1.
    #[error("field number is out of range")]
    FieldNumber,
    /// A field has the wire type of a group, or a reserved one.
    #[error("wire type `{0}` is not supported")]
    WireType(u8),
    /// A known field has a wire type other than the one in its definition.
    #[error("field `{0}` has the wrong wire type")]
    FieldType(u32),
    /// A string field is not UTF-8.
    #[error("field `{0}` is not UTF-8")]
    NotUtf8(u32),
    /// A field is longer than its limit.
    #[error("field `{0}` is too long")]
    TooLong(u32),
}

/// One field's value, borrowed from the message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0: an integer of any type, a Boolean or an enum.
    Varint(u64),
    /// Wire type 1: a `double`, or another value of eight bytes.
    Fixed64(u64),
    /// Wire type 2: a string, bytes or an embedded message.
    Bytes(&'a [u8]),
    /// Wire type 5: a `float`, or another value of four bytes.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// Returns the contents of length-delimited field number `field`.
    pub fn bytes(self, field: u32) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::FieldType(field)),
        }
    }

    /// Returns the text of string field number `field`.
    pub fn text(self, field: u32) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| WireError::NotUtf8(field))
    }

    /// Returns the value of varint field number `field`.
    pub fn varint(self, field: u32) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(WireError::FieldType(field)),
        }
    }

    /// Returns the value of `int64` field number `field` (two's complement, not zigzag).
    pub fn int64(self, field: u32) -> Result<i64, WireError> {
        self.varint(field).map(u64::cast_signed)
    }

    /// Returns the value of `double` field number `field`.
    pub fn double(self, field: u32) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError::FieldType(field)),
        }
    }
}

/// Reads a varint at the start of `bytes`; returns its value and its length in bytes.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Result<(u64, usize), WireError> {
    let Some(&first) = bytes.first() else {
        return Err(WireError::Truncated);
    };
    if first < 0x80 {
        return Ok((u64::from(first), 1));
    }
    let mut value = u64::from(first & 0x7f);
    for (index, &byte) in bytes.iter().enumerate().skip(1).take(9) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            // Nine bytes hold 63 bits, so the tenth may hold only the topmost one.
            if index == 9 && byte > 1 {
                return Err(WireError::VarintTooLong);
            }
            return Ok((value, index + 1));
        }
    }
    // With ten bytes at hand the varint itself is too long; with fewer, its rest may only be missing.
    Err(if bytes.len() >= 10 {
        WireError::VarintTooLong
    } else {
        WireError::Truncated
    })
}

/// Appends `value` to `out` as a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the low seven bits are what is wanted")]
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80 by the loop")]
    out.push(value as u8);
}

/// Returns the length of `value` as a varint, in bytes.
#[inline]
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    // 9/64 is near enough to 1/7 to give the exact result for every bit length from 1 to 64, and needs no division.
    (((64 - (value | 1).leading_zeros()) as usize) * 9 + 64) / 64
}

/// Appends length-delimited field `field` with the content `bytes` to `out`.
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends varint field `field` to `out` unless `value` is zero, as proto3 omits default values.
pub fn put_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(field << 3));
        put_varint(out, value);
    }
}

/// Appends `double` field `field` to `out` unless `value` is positive zero, the default value.
pub fn put_double(out: &mut Vec<u8>, field: u32, value: f64) {
    if value.to_bits() != 0 {
        put_varint(out, u64::from(field << 3 | 1));
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Appends varint field `field` to `out` even if it is zero, for proto2, whose readers tell zero from absent.
#[inline]
pub fn put_present_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, value);
}

/// Appends `double` field `field` to `out` even if it is zero, for proto2, whose readers tell zero from absent.
#[inline]
pub fn put_present_double(out: &mut Vec<u8>, field: u32, value: f64) {
    put_varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Appends the key and length of length-delimited field `field`. The caller appends its `len` bytes next.
#[inline]
pub fn put_head(out: &mut Vec<u8>, field: u32, len: usize) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, len as u64);
}

/// Returns the size in bytes of a length-delimited field whose content has `len` bytes: key, length and content.
#[inline]
#[must_use]
pub const fn field_len(field: u32, len: usize) -> usize {
    varint_len((field << 3) as u64) + varint_len(len as u64) + len
}

/// Appends one entry of `map<string, string>` field `field`.
#[inline]
pub fn put_entry(out: &mut Vec<u8>, field: u32, key: &[u8], value: &[u8]) {
    put_head(out, field, field_len(1, key.len()) + field_len(2, value.len()));
    put_bytes(out, 1, key);
    put_bytes(out, 2, value);
}

/// Appends length-delimited field `field`, whose content `write` appends.
pub fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(field << 3 | 2));
    let at = out.len();
    // Most messages are shorter than 128 bytes, and then one byte holds the length. A longer message is moved back to
    // make room: cheaper than to compute every length first.
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    let mut length = [0; 10];
    let mut taken = 0;
    let mut rest = len as u64;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        length[taken] = if rest == 0 { low } else { low | 0x80 };
        taken += 1;
        if rest == 0 {
            break;
        }
    }
    if taken > 1 {
        out.resize(out.len() + taken - 1, 0);
        out.copy_within(at + 1..at + 1 + len, at + taken);
    }
    out[at..at + taken].copy_from_slice(&length[..taken]);
}

/// Returns key and value of a map entry in plain form: both present, in this order, each shorter than 128 bytes.
///
/// Every common encoder writes short entries so. `None` does not mean that the entry is malformed, but that it has to
/// be read field by field.
#[inline]
#[must_use]
pub fn plain_entry(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x0a, key_len @ ..0x80, rest @ ..] = entry else {
        return None;
    };
    let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
    let [0x12, value_len @ ..0x80, value @ ..] = rest else {
        return None;
    };
    (value.len() == usize::from(*value_len)).then_some((key, value))
}

/// Whether `bytes` are UTF-8. The test for ASCII comes first because most text is ASCII and that test is faster.
#[inline]
#[must_use]
pub fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// Iterates over the top-level fields of one message, each as its number and value. It ends after the first error.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    consumed: usize,
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    #[must_use]
    pub const fn new(message: &'a [u8]) -> Self {
        Self {
            rest: message,
            consumed: 0,
        }
    }

    /// The offset in bytes at which the next field starts.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.consumed
    }

    /// Reads the next field.
    #[inline]
    fn read_field(&mut self) -> Result<(u32, Value<'a>), WireError> {
        // Nearly every field of nearly every envelope has a number below 16 and content shorter than 128 bytes: key and
        // length are then one byte each, and no varint has to be decoded.
        if let [key @ ..0x80, len @ ..0x80, rest @ ..] = self.rest
            && key & 7 == 2
            && *key >= 8
            && let Some((bytes, rest)) = rest.split_at_checked(usize::from(*len))
        {
            self.rest = rest;
            self.consumed += 2 + bytes.len();
            return Ok((u32::from(key >> 3), Value::Bytes(bytes)));
        }
        self.read_any_field()
    }

    /// Reads a field of any number, wire type and length.
    fn read_any_field(&mut self) -> Result<(u32, Value<'a>), WireError> {
        let (key, key_len) = read_varint(self.rest)?;
        let after_key = &self.rest[key_len..];
        let field = match u32::try_from(key >> 3) {
            Ok(number) if number != 0 && number < 1 << 29 => number,
            _ => return Err(WireError::FieldNumber),
        };
        let (value, value_len) = match key & 7 {
            0 => {
                let (value, len) = read_varint(after_key)?;
                (Value::Varint(value), len)
            }
            1 => {
                let bytes = after_key.first_chunk::<8>().ok_or(WireError::Truncated)?;
                (Value::Fixed64(u64::from_le_bytes(*bytes)), 8)
            }
            2 => {
                let (len, len_len) = read_varint(after_key)?;
                let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
                // Checked, because a length prefix can be close to 2^64.
                let end = len_len.checked_add(len).ok_or(WireError::Truncated)?;
                let bytes = after_key.get(len_len..end).ok_or(WireError::Truncated)?;
                (Value::Bytes(bytes), end)
            }
            5 => {
                let bytes = after_key.first_chunk::<4>().ok_or(WireError::Truncated)?;
                (Value::Fixed32(u32::from_le_bytes(*bytes)), 4)
            }
            #[expect(clippy::cast_possible_truncation, reason = "three bits")]
            other => return Err(WireError::WireType(other as u8)),
        };
        self.rest = &after_key[value_len..];
        self.consumed += key_len + value_len;
        Ok((field, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read_field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_every_length() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(read_varint(&out), Ok((value, out.len())));
                assert_eq!(varint_len(value), out.len());
            }
        }
    }

    #[test]
    fn the_length_prefix_is_right_for_every_message_size() {
        for len in [0usize, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let content = vec![7; len];
            let (mut nested, mut whole) = (vec![1, 2], vec![1, 2]);
            put_message(&mut nested, 500, |out| out.extend_from_slice(&content));
            put_bytes(&mut whole, 500, &content);
            assert!(nested == whole, "{len} bytes");
            assert_eq!(whole.len() - 2, field_len(500, len));
        }
    }

    #[test]
    fn a_four_gibibyte_length_prefix_is_truncation_not_allocation() {
        let mut message = vec![0x0a];
        put_varint(&mut message, 1 << 32);
        assert_eq!(Fields::new(&message).next(), Some(Err(WireError::Truncated)));
    }

    #[test]
    fn endless_varints_and_groups_are_refused() {
        assert_eq!(read_varint(&[0xff; 11]), Err(WireError::VarintTooLong));
        assert_eq!(read_varint(&[0xff; 9]), Err(WireError::Truncated));
        assert_eq!(Fields::new(&[0x0b]).next(), Some(Err(WireError::WireType(3))));
        assert_eq!(Fields::new(&[0x00]).next(), Some(Err(WireError::FieldNumber)));
    }
}
