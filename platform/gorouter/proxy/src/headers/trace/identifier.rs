//! Numbers of requests, traces and spans.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use rand::Rng as _;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Where a UUID has its dashes.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// The number of a request: 128 bits, written as a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identifier(u128);

impl Identifier {
    /// A new number, a random UUID (version 4).
    pub(crate) fn random() -> Self {
        let bits: u128 = rand::rng().random();
        Self(bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62)
    }

    /// The number as text.
    pub(crate) fn text(self) -> [u8; 36] {
        let bytes = self.0.to_be_bytes();
        let mut digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let mut text = [b'-'; 36];
        for (index, character) in text.iter_mut().enumerate() {
            if !DASHES.contains(&index)
                && let Some(digit) = digits.next()
            {
                *character = HEX[usize::from(digit)];
            }
        }
        text
    }

    /// The number as a header's value.
    pub(crate) fn header(self) -> HeaderValue {
        super::value(Bytes::copy_from_slice(&self.text()))
    }
}

/// The number of a trace: 128 bits, or 64 of older tracers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId {
    bits: u128,
    short: bool,
}

impl TraceId {
    /// The trace that begins with a request.
    pub(crate) const fn of(request: Identifier) -> Self {
        Self {
            bits: request.0,
            short: false,
        }
    }

    /// Reads 16 or 32 hexadecimal digits, in which not all are zero.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bits = hexadecimal(text)?;
        (matches!(text.len(), 16 | 32) && bits != 0).then_some(Self {
            bits,
            short: text.len() == 16,
        })
    }

    /// The digits; a short number has zeros before it.
    pub(crate) fn text(self) -> [u8; 32] {
        digits(self.bits.to_be_bytes())
    }

    /// The number that a request of this trace has, where the trace has enough bits for one.
    pub(crate) fn identifier(self) -> Option<Identifier> {
        (!self.short).then_some(Identifier(self.bits))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.short {
            true => write!(formatter, "{:016x}", self.bits),
            false => write!(formatter, "{:032x}", self.bits),
        }
    }
}

/// The number of a span: 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanId(u64);

impl SpanId {
    /// A new number.
    pub(crate) fn random() -> Self {
        Self(rand::rng().random_range(1..=u64::MAX))
    }

    /// Reads 16 hexadecimal digits, in which not all are zero.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bits = u64::try_from(hexadecimal(text)?).ok()?;
        (text.len() == 16 && bits != 0).then_some(Self(bits))
    }
}

impl SpanId {
    /// The digits.
    pub(crate) fn text(self) -> [u8; 16] {
        digits(self.0.to_be_bytes())
    }
}

/// The hexadecimal digits of a number.
fn digits<const BYTES: usize, const DIGITS: usize>(bytes: [u8; BYTES]) -> [u8; DIGITS] {
    let mut text = [b'0'; DIGITS];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (character, digit) in text.iter_mut().zip(digits) {
        *character = HEX[usize::from(digit)];
    }
    text
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// Reads digits without a sign.
fn hexadecimal(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}
