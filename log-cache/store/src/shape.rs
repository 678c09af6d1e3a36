//! Shapes: the names and units that rows of metrics have in common, stored once. Each row has its own numbers.
//!
//! The shape of a counter or a timer is its name. The shape of a gauge is the names and units of its metrics, sorted by
//! name, and the gauge's row has one value for each of them in that order.

use weir_envelope::view::Message;
use weir_envelope::wire::{put_varint, read_varint};

use crate::intern::Value;

/// The names, and for gauges the units, of many rows.
#[derive(Debug)]
pub struct Shape {
    /// `len name` for counters and timers, `len name len unit …` for gauges.
    bytes: Box<[u8]>,
}

impl Shape {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name of a counter or a timer.
    #[must_use]
    pub fn name(&self) -> &str {
        Texts(&self.bytes).next().unwrap_or_default()
    }

    /// The metrics of a gauge, `(name, unit)`, sorted by name.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = Texts(&self.bytes);
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }
}

impl Value for Shape {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + 48
    }
}

/// Iterates over texts, each of which has its length in front.
#[derive(Debug)]
struct Texts<'a>(&'a [u8]);

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (len, taken) = read_varint(self.0).ok()?;
        let end = taken.checked_add(usize::try_from(len).ok()?)?;
        let text = std::str::from_utf8(self.0.get(taken..end)?).ok()?;
        self.0 = &self.0[end..];
        Some(text)
    }
}

/// Splits payloads into shape and numbers, with a buffer that it reuses.
#[derive(Debug, Default)]
pub(crate) struct ShapeWriter<'a> {
    metrics: Vec<(&'a str, &'a str, u64)>,
}

impl<'a> ShapeWriter<'a> {
    /// Appends the shape of `message`; nothing for kinds that have none.
    #[inline]
    pub(crate) fn write_shape(&mut self, message: &Message<'a>, out: &mut Vec<u8>) {
        match message {
            Message::Counter { name, .. } | Message::Timer { name, .. } => put_text(out, name),
            Message::Gauge(metrics) => {
                self.metrics.clear();
                self.metrics.extend(
                    metrics
                        .clone()
                        .map(|metric| (metric.name, metric.unit, metric.value.to_bits())),
                );
                if !self.metrics.is_sorted_by(|left, right| left.0 < right.0) {
                    self.metrics.sort_by_key(|metric| metric.0);
                    self.metrics.dedup_by(|later, kept| {
                        let same = later.0 == kept.0;
                        if same {
                            *kept = *later;
                        }
                        same
                    });
                }
                for (name, unit, _) in &self.metrics {
                    put_text(out, name);
                    put_text(out, unit);
                }
            }
            Message::Log { .. } | Message::Event { .. } | Message::None => {}
        }
    }

    /// Appends the numbers of the message whose shape was written last, each as eight bytes in little-endian order.
    #[inline]
    pub(crate) fn write_numbers(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        match *message {
            Message::Counter { delta, total, .. } => put_numbers(out, [delta, total]),
            Message::Timer { start, stop, .. } => put_numbers(out, [start.cast_unsigned(), stop.cast_unsigned()]),
            Message::Gauge(_) => {
                for (_, _, bits) in &self.metrics {
                    out.extend_from_slice(&bits.to_le_bytes());
                }
            }
            Message::Log { .. } | Message::Event { .. } | Message::None => {}
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_numbers(out: &mut Vec<u8>, numbers: [u64; 2]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Returns the numbers of a row.
pub(crate) fn numbers(payload: &[u8]) -> impl ExactSizeIterator<Item = u64> {
    payload
        .as_chunks::<8>()
        .0
        .iter()
        .map(|number| u64::from_le_bytes(*number))
}

/// Returns the two numbers of a counter's or timer's row.
pub(crate) fn pair(payload: &[u8]) -> (u64, u64) {
    let mut numbers = numbers(payload);
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name is read back unchanged.
    #[test]
    fn names_are_read_back() {
        for name in ["", "requests", "\u{1F300}\0", &"x".repeat(300)] {
            let (mut shape, mut row) = (Vec::new(), Vec::new());
            let mut writer = ShapeWriter::default();
            let message = Message::Counter {
                name,
                delta: 7,
                total: u64::MAX,
            };
            writer.write_shape(&message, &mut shape);
            writer.write_numbers(&message, &mut row);
            assert_eq!(Shape::new(&shape).name(), name);
            assert_eq!(pair(&row), (7, u64::MAX));
        }
    }

    /// Reading a truncated shape ends early, and does not panic.
    #[test]
    fn truncated_shapes_do_not_panic() {
        assert_eq!(Shape::new(&[5, b'a']).name(), "");
        assert_eq!(Shape::new(&[1, b'a', 200]).metrics().count(), 0);
        assert_eq!(numbers(&[0; 15]).count(), 1);
    }
}
