//! Numbered envelopes: each can be told from every other, and its loss from its delay.

use std::time::{SystemTime, UNIX_EPOCH};

use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;

/// Starts every numbered payload; then twelve digits of the number, ` @`, twenty digits of nanoseconds since 1970, a space.
pub const PAYLOAD_MARK: &[u8] = b"weir#";

const NUMBER_AT: usize = PAYLOAD_MARK.len();
const NUMBER_DIGITS: usize = 12;
const TIME_AT: usize = NUMBER_AT + NUMBER_DIGITS + 2;
const TIME_DIGITS: usize = 20;
/// Bytes of a payload before its filler.
const HEAD: usize = TIME_AT + TIME_DIGITS + 1;

/// What an envelope looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    payload: usize,
    tags: usize,
    /// Length of the whole message; the last tag is stretched to reach it. Zero leaves it as it is.
    total: usize,
}

impl Shape {
    /// An app's line as the original's cells send it: 200 bytes and ten tags, 495 bytes in all.
    pub const LINE: Self = Self {
        payload: 200,
        tags: 10,
        total: 495,
    };
    /// A short line: 100 bytes and three tags, 214 bytes in all.
    pub const SHORT: Self = Self {
        payload: 100,
        tags: 3,
        total: 214,
    };

    /// A log with a payload of that size and three tags.
    #[must_use]
    pub const fn payload(bytes: usize) -> Self {
        Self {
            payload: bytes,
            tags: 3,
            total: 0,
        }
    }
}

/// An envelope has the last few of them.
const TAGS: [(&str, &str); 10] = [
    ("source_type", "APP/PROC/WEB"),
    ("origin", "rep"),
    ("deployment", "cf"),
    ("job", "diego-cell"),
    ("process_type", "web"),
    ("space_name", "production"),
    ("organization_name", "shop"),
    ("index", "3f2a"),
    ("ip", "10.0.16.5"),
    ("app_name", "c"),
];

/// The numbered log lines of one source.
#[derive(Debug, Clone)]
pub struct Series {
    source_id: String,
    shape: Shape,
    next: u64,
}

impl Series {
    /// Lines of `source_id`, numbered from zero.
    #[must_use]
    pub fn new(source_id: impl Into<String>, shape: Shape) -> Self {
        Self {
            source_id: source_id.into(),
            shape,
            next: 0,
        }
    }

    /// Whose lines these are.
    #[must_use]
    pub fn source_id(&self) -> &str {
        &self.source_id
    }

    /// How many were made.
    #[must_use]
    pub const fn made(&self) -> u64 {
        self.next
    }

    /// The next envelope, appended to `out`.
    pub fn write_next(&mut self, out: &mut Vec<u8>) {
        let now = now_nanos();
        let mut payload = Vec::with_capacity(self.shape.payload.max(HEAD));
        payload.extend_from_slice(PAYLOAD_MARK);
        payload.extend_from_slice(format!("{:0NUMBER_DIGITS$} @{now:0TIME_DIGITS$} ", self.next).as_bytes());
        payload.resize(self.shape.payload.max(HEAD), b'x');
        self.next += 1;

        let start = out.len();
        self.write(out, now, &payload, 0);
        let missing = self.shape.total.saturating_sub(out.len() - start);
        if missing > 0 {
            out.truncate(start);
            self.write(out, now, &payload, missing);
        }
    }

    fn write(&self, out: &mut Vec<u8>, now: i64, payload: &[u8], stretch: usize) {
        let mut writer = Writer::new(out);
        writer.timestamp(now).source_id(&self.source_id).instance_id("0");
        let tags = &TAGS[TAGS.len() - self.shape.tags..];
        for (index, (key, value)) in tags.iter().enumerate() {
            if index + 1 == tags.len() && stretch > 0 {
                writer.tag(key, &format!("{value}{}", "a".repeat(stretch)));
            } else {
                writer.tag(key, value);
            }
        }
        writer.log(payload, Stream::Out);
    }

    /// The next `count` envelopes as one batch.
    #[must_use]
    pub fn batch(&mut self, count: usize) -> Batch {
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            builder.push_with(|out| self.write_next(out));
        }
        builder.finish()
    }
}

/// The number in a payload, if it has one.
pub(crate) fn number_of(payload: &[u8]) -> Option<u64> {
    digits(payload, NUMBER_AT, NUMBER_DIGITS)
}

/// When a numbered line was made, in nanoseconds since 1970.
pub(crate) fn time_of(payload: &[u8]) -> Option<u64> {
    digits(payload, TIME_AT, TIME_DIGITS).filter(|nanos| *nanos > 0)
}

fn digits(payload: &[u8], at: usize, count: usize) -> Option<u64> {
    if !payload.starts_with(PAYLOAD_MARK) {
        return None;
    }
    let digits = payload.get(at..at + count)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn now_nanos() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_envelope::view::Message;

    /// The sizes are those that the original was measured with.
    #[test]
    fn shapes_have_their_sizes() {
        for (shape, size) in [(Shape::LINE, 495), (Shape::SHORT, 214)] {
            let mut series = Series::new("6c1f0b2e-9d3a-4c57-8e21-0a4b5c6d7e8f", shape);
            let mut envelope = Vec::new();
            series.write_next(&mut envelope);
            assert_eq!(envelope.len(), size);
        }
    }

    #[test]
    fn numbers_are_read_back() {
        let mut series = Series::new("app", Shape::payload(0));
        let batch = series.batch(3);
        let numbers: Vec<Option<u64>> = batch
            .iter()
            .map(|envelope| match envelope.view().message() {
                Message::Log { payload, .. } => number_of(payload),
                _ => None,
            })
            .collect();
        assert_eq!(numbers, [Some(0), Some(1), Some(2)]);
        assert_eq!(series.made(), 3);
    }
}
