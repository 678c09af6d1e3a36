//! The payload of an envelope.

use super::{field, fields, text};
use crate::{
    batch::Kind,
    wire::{Fields, Value},
};

/// Which of the standard streams a log line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stream {
    /// Standard output; the default of the definition.
    #[default]
    Out,
    /// Standard error. A number that the definition does not know counts as this too, as in the original's conversion.
    Err,
}

impl Stream {
    /// Its name in the definition.
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
        /// Where it was written.
        stream: Stream,
    },
    /// A number that only grows.
    Counter {
        /// Its name.
        name: &'a str,
        /// Growth since the last envelope.
        delta: u64,
        /// The number itself.
        total: u64,
    },
    /// Numbers measured at the same moment.
    Gauge(GaugeMetrics<'a>),
    /// Something that took time.
    Timer {
        /// Its name.
        name: &'a str,
        /// Nanoseconds since the Unix epoch.
        start: i64,
        /// Nanoseconds since the Unix epoch.
        stop: i64,
    },
    /// Something that happened.
    Event {
        /// Its title.
        title: &'a str,
        /// What is to be said of it.
        body: &'a str,
    },
    /// No payload.
    #[default]
    None,
}

impl<'a> Message<'a> {
    /// Takes in one more payload field; `behind` is the rest of the envelope behind it.
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
                // The metrics read on by themselves.
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

/// Enums are 32 bits wide; what a varint has above is cut off, as every implementation does.
#[expect(clippy::cast_possible_truncation, reason = "that is the point")]
const fn stream_of(value: u64) -> Stream {
    if value as u32 == 0 { Stream::Out } else { Stream::Err }
}

/// One metric of a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Metric<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its unit.
    pub unit: &'a str,
    /// What was measured.
    pub value: f64,
}

/// Iterates over the metrics of a gauge, in the order of the wire.
#[derive(Debug, Clone)]
pub struct GaugeMetrics<'a> {
    gauge: Fields<'a>,
    /// The rest of the envelope, in which the gauge goes on if there is `more`.
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
