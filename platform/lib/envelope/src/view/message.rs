//! Reads the payload of an envelope: log, counter, gauge, timer or event.

use super::{field, fields, text};
use crate::{
    batch::Kind,
    wire::{Fields, Value},
};

/// The standard stream to which a log line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stream {
    /// Standard output, which is the default.
    #[default]
    Out,
    /// Standard error. An unknown number on the wire counts as this, as in the original's conversion to v1.
    Err,
}

impl Stream {
    /// The name of the stream in the protobuf definition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "OUT",
            Self::Err => "ERR",
        }
    }
}

/// The payload of an envelope.
#[derive(Debug, Clone, Default)]
pub enum Message<'a> {
    /// A line of output.
    Log {
        /// The line without its newline.
        payload: &'a [u8],
        /// The stream to which the line was written.
        stream: Stream,
    },
    /// A number that only grows.
    Counter {
        /// The name of the counter.
        name: &'a str,
        /// The growth since the last envelope of this counter.
        delta: u64,
        /// The value of the counter.
        total: u64,
    },
    /// Values measured at one moment.
    Gauge(GaugeMetrics<'a>),
    /// The duration of an operation.
    Timer {
        /// The name of the timer.
        name: &'a str,
        /// The start, in nanoseconds since the Unix epoch.
        start: i64,
        /// The end, in nanoseconds since the Unix epoch.
        stop: i64,
    },
    /// A report of one occurrence.
    Event {
        /// The title of the event.
        title: &'a str,
        /// The text of the event.
        body: &'a str,
    },
    /// No payload.
    #[default]
    None,
}

impl<'a> Message<'a> {
    /// Merges one more payload field into this message; `behind` is the rest of the envelope behind that field.
    #[inline]
    pub(super) fn merge(&mut self, kind: Kind, bytes: &'a [u8], behind: &'a [u8]) {
        match kind {
            Kind::Log => {
                let (mut payload, mut stream): (&[u8], _) = match self {
                    Self::Log { payload, stream } => (payload, *stream),
                    _ => (&[], Stream::Out),
                };
                for (number, value) in fields(bytes) {
                    match (number, value) {
                        (1, Value::Bytes(bytes)) => payload = bytes,
                        (2, Value::Varint(value)) => stream = stream_of(value),
                        _ => {}
                    }
                }
                *self = Self::Log { payload, stream };
            }
            Kind::Counter => {
                let (mut name, mut delta, mut total) = match self {
                    Self::Counter { name, delta, total } => (*name, *delta, *total),
                    _ => ("", 0, 0),
                };
                for (number, value) in fields(bytes) {
                    match (number, value) {
                        (1, Value::Bytes(bytes)) => text(bytes, &mut name),
                        (2, Value::Varint(value)) => delta = value,
                        (3, Value::Varint(value)) => total = value,
                        _ => {}
                    }
                }
                *self = Self::Counter { name, delta, total };
            }
            Kind::Gauge => match self {
                // The iterator of the metrics finds the further gauge field in `behind`, so nothing is collected here.
                Self::Gauge(metrics) => metrics.more = true,
                _ => *self = Self::Gauge(GaugeMetrics::new(bytes, behind)),
            },
            Kind::Timer => {
                let (mut name, mut start, mut stop) = match self {
                    Self::Timer { name, start, stop } => (*name, *start, *stop),
                    _ => ("", 0, 0),
                };
                for (number, value) in fields(bytes) {
                    match (number, value) {
                        (1, Value::Bytes(bytes)) => text(bytes, &mut name),
                        (2, Value::Varint(value)) => start = value.cast_signed(),
                        (3, Value::Varint(value)) => stop = value.cast_signed(),
                        _ => {}
                    }
                }
                *self = Self::Timer { name, start, stop };
            }
            Kind::Event => {
                let (mut title, mut body) = match self {
                    Self::Event { title, body } => (*title, *body),
                    _ => ("", ""),
                };
                for (number, value) in fields(bytes) {
                    match (number, value) {
                        (1, Value::Bytes(bytes)) => text(bytes, &mut title),
                        (2, Value::Bytes(bytes)) => text(bytes, &mut body),
                        _ => {}
                    }
                }
                *self = Self::Event { title, body };
            }
            Kind::None => *self = Self::None,
        }
    }
}

/// Returns the stream of an enum's number. Enums have 32 bits; higher bits are cut off, as in every protobuf
/// implementation.
#[expect(clippy::cast_possible_truncation, reason = "that is the point")]
const fn stream_of(value: u64) -> Stream {
    if value as u32 == 0 { Stream::Out } else { Stream::Err }
}

/// One metric of a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Metric<'a> {
    /// The name of the metric.
    pub name: &'a str,
    /// The unit of the value.
    pub unit: &'a str,
    /// The measured value.
    pub value: f64,
}

/// Iterates over the metrics of a gauge, in the order of the wire.
#[derive(Debug, Clone)]
pub struct GaugeMetrics<'a> {
    gauge: Fields<'a>,
    /// The rest of the envelope, which holds further fields of this gauge if `more` is set.
    behind: Fields<'a>,
    more: bool,
}

impl<'a> GaugeMetrics<'a> {
    const fn new(gauge: &'a [u8], behind: &'a [u8]) -> Self {
        Self {
            gauge: Fields::new(gauge),
            behind: Fields::new(behind),
            more: false,
        }
    }
}

impl<'a> Iterator for GaugeMetrics<'a> {
    type Item = Metric<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.gauge.next() {
                Some(Ok((1, Value::Bytes(entry)))) => return Some(metric(entry)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None if !self.more => return None,
                Some(Err(_)) | None => {
                    let next = self.behind.find_map(|found| match found {
                        Ok((field::GAUGE, Value::Bytes(gauge))) => Some(gauge),
                        _ => None,
                    });
                    self.gauge = Fields::new(next?);
                }
            }
        }
    }
}

/// Reads one entry of `Gauge.metrics`.
fn metric(entry: &[u8]) -> Metric<'_> {
    let mut metric = Metric::default();
    for (number, value) in fields(entry) {
        match (number, value) {
            (1, Value::Bytes(bytes)) => text(bytes, &mut metric.name),
            (2, Value::Bytes(bytes)) => {
                for (number, value) in fields(bytes) {
                    match (number, value) {
                        (1, Value::Bytes(bytes)) => text(bytes, &mut metric.unit),
                        (2, Value::Fixed64(bits)) => metric.value = f64::from_bits(bits),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    metric
}
