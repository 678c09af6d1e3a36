//! Durations such as `1m30s`.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Parsed, ValueError, number_and_unit, scaled};

pub(crate) const EXPECTED: &str = "a duration such as `15s`, `100ms` or `1m30s`";

/// The units and their lengths in nanoseconds, longest first.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A duration, written as `100ms`, `15s`, `1m30s`, `1.5h` or `30d`. It is at most 584 years. Dereferences to the type
/// of the standard library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(time::Duration);

impl Duration {
    /// A duration of this many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// A duration of this many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }

    /// The duration in the type of the standard library.
    #[must_use]
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl Deref for Duration {
    type Target = time::Duration;

    fn deref(&self) -> &time::Duration {
        &self.0
    }
}

impl From<time::Duration> for Duration {
    fn from(duration: time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        nanos(text.trim())
            .map(|nanos| Self(time::Duration::from_nanos(nanos)))
            .ok_or(ValueError { expected: EXPECTED })
    }
}

/// Adds up the parts of a text such as `1m30s`, in nanoseconds. Units must come in descending order, each at most once.
fn nanos(mut text: &str) -> Option<u64> {
    // Zero means the same in every unit.
    if text == "0" {
        return Some(0);
    }
    let mut total = 0_u64;
    let mut shortest = u64::MAX;
    while !text.is_empty() {
        let unit = text.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
        let end = unit
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(unit.len());
        let (part, rest) = text.split_at(text.len() - unit.len() + end);
        let (whole, thousandths, name) = number_and_unit(part)?;
        // Both spellings of microseconds are common.
        let name = if name == "µs" { "us" } else { name };
        let (_, unit) = UNITS.iter().find(|(known, _)| *known == name)?;
        if *unit >= shortest {
            return None;
        }
        shortest = *unit;
        total = total.checked_add(scaled(whole, thousandths, *unit)?)?;
        text = rest;
    }
    (shortest < u64::MAX).then_some(total)
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if left == 0 {
            return formatter.write_str("0s");
        }
        for (name, unit) in UNITS {
            if left >= unit {
                write!(formatter, "{}{name}", left / unit)?;
                left %= unit;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed::new(EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The texts that operators write are parsed, and texts without a unit or in another form are refused.
    #[test]
    fn parses_durations() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("100ms", 100),
            ("15s", 15_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("2d", 172_800_000),
            ("1000us", 1),
            ("2000µs", 2),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "15",
            "s",
            "-1s",
            "1s1m",
            "1s 2ms",
            "1sec",
            "1.5",
            "1..5s",
            "999999999999d",
            "µs",
            "1µ",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        assert_eq!(Duration::from_millis(90_100).to_string(), "1m30s100ms");
        assert_eq!(Duration::from_secs(0).to_string(), "0s");
        assert_eq!(Duration::from_secs(3).as_millis(), 3000);
    }

    proptest! {
        /// Every duration is parsed as it was written, and no text causes a panic.
        #[test]
        fn round_trips(nanos: u64, text: String) {
            let duration = Duration::from(time::Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            let _any = text.parse::<Duration>();
        }
    }
}
