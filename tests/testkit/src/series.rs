//! Numbered envelopes: the number distinguishes a lost envelope from a late or repeated one.

use std::time::{SystemTime, UNIX_EPOCH};

use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;

/// The start of every numbered payload. Twelve digits of the number follow, then ` @`, twenty digits of nanoseconds
/// since 1970, and a space.
pub const PAYLOAD_MARK: &[u8] = b"weir#";

const NUMBER_AT: usize = PAYLOAD_MARK.len();
const NUMBER_DIGITS: usize = 12;
const TIME_AT: usize = NUMBER_AT + NUMBER_DIGITS + 2;
const TIME_DIGITS: usize = 20;
/// The length of a payload before its filler, in bytes.
const HEAD: usize = TIME_AT + TIME_DIGITS + 1;

/// The size of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    payload: usize,
    tags: usize,
    /// The length of the whole message in bytes, which the last tag is extended to reach. Zero means no extension.
    total: usize,
}

impl Shape {
    /// A line of an app as the original's cells send it: a payload of 200 bytes and ten tags, 495 bytes in all.
    pub const LINE: Self = Self {
        payload: 200,
        tags: 10,
        total: 495,
    };
    /// A short line: a payload of 100 bytes and three tags, 214 bytes in all.
    pub const SHORT: Self = Self {
        payload: 100,
        tags: 3,
        total: 214,
    };

    /// Returns the shape of a log with a payload of `bytes` bytes and three tags.
    #[must_use]
    pub const fn payload(bytes: usize) -> Self {
        Self {
            payload: bytes,
            tags: 3,
            total: 0,
        }
    }
}

/// The tags of an envelope. Shapes with fewer tags have the last ones.
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
    /// Returns the lines of `source_id`, numbered from zero.
    #[must_use]
    pub fn new(source_id: impl Into<String>, shape: Shape) -> Self {
        Self {
            source_id: source_id.into(),
            shape,
            next: 0,
        }
    }

    /// Returns the source id of the lines.
    #[must_use]
    pub fn source_id(&self) -> &str {
        &self.source_id
    }

    /// Returns how many envelopes were made.
    #[must_use]
    pub const fn made(&self) -> u64 {
        self.next
    }

    /// Appends the next envelope to `out`.
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

    /// Returns the next `count` envelopes as one batch.
    #[must_use]
    pub fn batch(&mut self, count: usize) -> Batch {
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            builder.push_with(|out| self.write_next(out));
        }
        builder.finish()
    }
}

/// Returns the number in a payload, if it has one.
pub(crate) fn number_of(payload: &[u8]) -> Option<u64> {
    digits(payload, NUMBER_AT, NUMBER_DIGITS)
}

/// Returns when a numbered line was made, in nanoseconds since 1970.
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

    /// The sizes are those with which the original was measured.
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
