//! Structured data: `[name@47450 parameter="value" …]`.

/// The private enterprise number of the Cloud Foundry Foundation.
const ENTERPRISE: &[u8] = b"@47450";

/// Begins an element.
#[inline]
pub(super) fn open(out: &mut Vec<u8>, name: &str) {
    out.push(b'[');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(ENTERPRISE);
}

/// Ends an element.
#[inline]
pub(super) fn close(out: &mut Vec<u8>) {
    out.push(b']');
}

/// A parameter that is text.
#[inline]
pub(super) fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    begin(out, name);
    put_escaped(out, value.as_bytes());
    out.push(b'"');
}

/// A parameter that is a whole number.
pub(super) fn integer(out: &mut Vec<u8>, name: &str, value: impl Into<i128>) {
    begin(out, name);
    let value: i128 = value.into();
    if value < 0 {
        out.push(b'-');
    }
    put_unsigned(out, u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX));
    out.push(b'"');
}

#[inline]
fn begin(out: &mut Vec<u8>, name: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
}

fn put_escaped(out: &mut Vec<u8>, value: &[u8]) {
    let mut from = 0;
    while let Some(at) = memchr::memchr3(b'\\', b'"', b']', &value[from..]) {
        out.extend_from_slice(&value[from..from + at]);
        out.extend_from_slice(&[b'\\', value[from + at]]);
        from += at + 1;
    }
    out.extend_from_slice(&value[from..]);
}

/// Appends a number in decimal.
#[inline]
pub(super) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
