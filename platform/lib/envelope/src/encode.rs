//! Writes envelopes in wire form, without building owned types first.
//!
//! ```
//! use weir_envelope::{encode::Writer, view::{EnvelopeView, Stream}};
//!
//! let mut envelope = Vec::new();
//! Writer::new(&mut envelope).timestamp(17).source_id("app").tag("origin", "rep").log(b"hello", Stream::Out);
//! assert_eq!(EnvelopeView::new(&envelope).source_id(), "app");
//! ```

use crate::view::{Stream, TagValue, field};
use crate::wire::{
    field_len, put_bytes, put_double, put_entry, put_head, put_message, put_present_double, put_present_uint, put_uint,
    varint_len,
};

/// Appends one `loggregator.v2.Envelope` message to a buffer, field by field.
///
/// The buffer is valid protobuf after every call, in any order and with any field omitted. If a scalar is written
/// twice, readers see the last value. Each tag is added to the others. If payloads are written twice, readers see the
/// last kind.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Returns a writer that appends to `out`.
    pub const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Writes the timestamp, in nanoseconds since the Unix epoch.
    pub fn timestamp(&mut self, nanos: i64) -> &mut Self {
        put_present_uint(self.out, field::TIMESTAMP, nanos.cast_unsigned());
        self
    }

    /// Writes the source id: which app or component emits the envelope.
    pub fn source_id(&mut self, source_id: &str) -> &mut Self {
        put_bytes(self.out, field::SOURCE_ID, source_id.as_bytes());
        self
    }

    /// Writes the instance id: which copy of the source emits the envelope.
    pub fn instance_id(&mut self, instance_id: &str) -> &mut Self {
        put_bytes(self.out, field::INSTANCE_ID, instance_id.as_bytes());
        self
    }

    /// Writes one preferred tag.
    pub fn tag(&mut self, key: &str, value: &str) -> &mut Self {
        put_entry(self.out, field::TAGS, key.as_bytes(), value.as_bytes());
        self
    }

    /// Writes several preferred tags.
    pub fn tags<K: AsRef<str>, V: AsRef<str>>(&mut self, tags: impl IntoIterator<Item = (K, V)>) -> &mut Self {
        for (key, value) in tags {
            self.tag(key.as_ref(), value.as_ref());
        }
        self
    }

    /// Writes one deprecated tag.
    pub fn deprecated_tag(&mut self, key: &str, value: TagValue<'_>) -> &mut Self {
        put_deprecated_tag(self.out, key, value);
        self
    }

    /// Writes a log payload: one line of output, which may be any bytes.
    pub fn log(&mut self, payload: &[u8], stream: Stream) -> &mut Self {
        let stream = u64::from(stream == Stream::Err);
        // The field of the enum has two bytes, and is omitted at its default value.
        let len = field_len(1, payload.len()) + if stream == 0 { 0 } else { 2 };
        put_head(self.out, field::LOG, len);
        put_bytes(self.out, 1, payload);
        put_uint(self.out, 2, stream);
        self
    }

    /// Writes a counter: a number that only grows, and its growth since the last envelope.
    pub fn counter(&mut self, name: &str, delta: u64, total: u64) -> &mut Self {
        put_message(self.out, field::COUNTER, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_uint(out, 2, delta);
            put_uint(out, 3, total);
        });
        self
    }

    /// Writes a gauge: values measured at one moment, each as `(name, unit, value)`.
    pub fn gauge(&mut self, metrics: &[(&str, &str, f64)]) -> &mut Self {
        put_message(self.out, field::GAUGE, |out| {
            for (name, unit, value) in metrics {
                put_metric(out, name, unit, *value);
            }
        });
        self
    }

    /// Writes a timer: the start and stop of an operation, in nanoseconds since the Unix epoch.
    pub fn timer(&mut self, name: &str, start: i64, stop: i64) -> &mut Self {
        put_message(self.out, field::TIMER, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_uint(out, 2, start.cast_unsigned());
            put_uint(out, 3, stop.cast_unsigned());
        });
        self
    }

    /// Writes an event: a title and a body.
    pub fn event(&mut self, title: &str, body: &str) -> &mut Self {
        put_message(self.out, field::EVENT, |out| {
            put_bytes(out, 1, title.as_bytes());
            put_bytes(out, 2, body.as_bytes());
        });
        self
    }
}

/// Appends one entry of `Gauge.metrics`.
pub(crate) fn put_metric(out: &mut Vec<u8>, name: &str, unit: &str, value: f64) {
    // Positive zero is the default value of a double, and is omitted. Any other takes nine bytes, with its key.
    let value_len = field_len(1, unit.len()) + if value.to_bits() == 0 { 0 } else { 9 };
    put_head(out, 1, field_len(1, name.len()) + field_len(2, value_len));
    put_bytes(out, 1, name.as_bytes());
    put_head(out, 2, value_len);
    put_bytes(out, 1, unit.as_bytes());
    put_double(out, 2, value);
}

/// Appends one entry of `Envelope.deprecated_tags`.
pub(crate) fn put_deprecated_tag(out: &mut Vec<u8>, key: &str, value: TagValue<'_>) {
    let value_len = match value {
        TagValue::Text(text) => field_len(1, text.len()),
        TagValue::Integer(value) => 1 + varint_len(value.cast_unsigned()),
        TagValue::Decimal(_) => 9,
        TagValue::None => 0,
    };
    put_head(
        out,
        field::DEPRECATED_TAGS,
        field_len(1, key.len()) + field_len(2, value_len),
    );
    put_bytes(out, 1, key.as_bytes());
    put_head(out, 2, value_len);
    match value {
        TagValue::Text(text) => put_bytes(out, 1, text.as_bytes()),
        // A member of a oneof is written even at its default value, because its presence says which member is set.
        TagValue::Integer(value) => put_present_uint(out, 2, value.cast_unsigned()),
        TagValue::Decimal(value) => put_present_double(out, 3, value),
        TagValue::None => {}
    }
}

#[cfg(test)]
mod tests;
