//! Writes structured data elements: `[name@47450 parameter="value" …]`.

use weir_envelope::number::{DecimalForm, put_decimal};
use weir_envelope::view::Metric;

/// The private enterprise number of the Cloud Foundry Foundation.
const ENTERPRISE: &[u8] = b"@47450";

/// Appends the element of a counter.
pub(super) fn put_counter(out: &mut Vec<u8>, name: &str, total: u64, delta: u64) {
    open(out, "counter");
    text(out, "name", name);
    integer(out, "total", total);
    integer(out, "delta", delta);
    close(out);
}

/// Appends the element of one metric of a gauge. `number` is a buffer for printing its value.
pub(super) fn put_gauge(out: &mut Vec<u8>, number: &mut String, metric: &Metric<'_>) {
    number.clear();
    put_decimal(number, metric.value, DecimalForm::Shortest);
    open(out, "gauge");
    text(out, "name", metric.name);
    text(out, "value", number);
    text(out, "unit", metric.unit);
    close(out);
}

/// Appends the element of a timer.
pub(super) fn put_timer(out: &mut Vec<u8>, name: &str, start: i64, stop: i64) {
    open(out, "timer");
    text(out, "name", name);
    integer(out, "start", start);
    integer(out, "stop", stop);
    close(out);
}

/// Appends the element of an event.
pub(super) fn put_event(out: &mut Vec<u8>, title: &str, body: &str) {
    open(out, "event");
    text(out, "title", title);
    text(out, "body", body);
    close(out);
}

/// Appends the opening bracket and the name of an element.
#[inline]
pub(super) fn open(out: &mut Vec<u8>, name: &str) {
    out.push(b'[');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(ENTERPRISE);
}

/// Appends the closing bracket of an element.
#[inline]
pub(super) fn close(out: &mut Vec<u8>) {
    out.push(b']');
}

/// Appends a parameter whose value is text.
#[inline]
pub(super) fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    begin(out, name);
    put_escaped(out, value.as_bytes());
    out.push(b'"');
}

/// Appends a parameter whose value is an integer.
fn integer(out: &mut Vec<u8>, name: &str, value: impl Into<i128>) {
    begin(out, name);
    let value: i128 = value.into();
    if value < 0 {
        out.push(b'-');
    }
    put_unsigned(out, u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX));
    out.push(b'"');
}

/// Appends the name of a parameter and the quote that opens its value.
#[inline]
fn begin(out: &mut Vec<u8>, name: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
}

/// Appends a value with a backslash before each `\`, `"` and `]` (RFC 5424, section 6.3.3).
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
