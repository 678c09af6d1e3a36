//! Points in time and durations, as people read them.

use std::fmt;
use std::io::Write as _;

use chrono::{DateTime, Local, SecondsFormat, Utc};

/// Appends a time, in nanoseconds since 1970, as local time with microseconds and offset (RFC 3339).
pub(crate) fn timestamp(nanos: i64, text: &mut Vec<u8>) {
    let local: DateTime<Local> = DateTime::<Utc>::from_timestamp_nanos(nanos).into();
    // Writing to a vector cannot fail.
    drop(write!(text, "{}", local.to_rfc3339_opts(SecondsFormat::Micros, false)));
}

/// A duration in nanoseconds, shown in the largest unit of which it has at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) i64);

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let (unit, name) = match nanos {
            0..1_000 => return write!(formatter, "{sign}{nanos} ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        write!(
            formatter,
            "{sign}{}.{:03} {name}",
            nanos / unit,
            nanos % unit * 1000 / unit
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_the_largest_unit() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_500, "1.500 µs"),
            (12_345_678, "12.345 ms"),
            (61_000_000_000, "61.000 s"),
            (-2_000_000, "-2.000 ms"),
            (i64::MIN, "-9223372036.854 s"),
        ] {
            assert_eq!(Span(nanos).to_string(), text);
        }
    }

    /// The text has the same time to the microsecond, in every local time zone.
    #[test]
    fn timestamps_keep_microseconds() {
        for nanos in [0, 1_767_431_472_345_678_901, -1] {
            let mut text = Vec::new();
            timestamp(nanos, &mut text);
            let text = String::from_utf8(text).expect("text");
            let parsed = DateTime::parse_from_rfc3339(&text).expect("RFC 3339");
            assert_eq!(parsed.timestamp_micros(), nanos.div_euclid(1000), "{text}");
        }
    }
}
