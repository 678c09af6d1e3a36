//! The reservable ports of a router group: `1024-1033,2000`. The messages are those of the original.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The lowest port that can be reserved.
const LOWEST: u16 = 1024;

/// Ports and ranges with commas between them, as they are written. [`ReservablePorts::ranges`] reads them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReservablePorts(pub String);

/// A range of ports; both ends are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    start: u16,
    end: u16,
}

/// Why ports cannot be reserved. The texts are those of the original.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPorts {
    /// A port is no number, or is too low.
    #[error("port must be between 1024 and 65535")]
    Port,
    /// A range has no first port.
    #[error("range ({0}) requires a starting port")]
    NoStart(String),
    /// A range has no last port.
    #[error("range ({0}) requires an ending port")]
    NoEnd(String),
    /// The first port of a range is greater than its last one.
    #[error("range ({0}) must be in ascending numeric order")]
    Descending(String),
    /// A range has more than two ends.
    #[error("range ({0}) has too many '-' separators")]
    Separators(String),
    /// Two ranges have a port in common.
    #[error("Overlapping values: {0} and {1}")]
    Overlap(PortRange, PortRange),
    /// Ports of the system's own components are among them.
    #[error(
        "Invalid ports. Reservable ports must not include the following reserved system component ports: [{}].",
        words(.0)
    )]
    Reserved(Vec<u16>),
}

/// Numbers as Go prints a slice of them.
fn words(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
}

impl ReservablePorts {
    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges in the order in which they are written; they may overlap.
    ///
    /// # Errors
    /// When a part is no port and no range.
    pub fn ranges(&self) -> Result<Vec<PortRange>, InvalidPorts> {
        self.0.split(',').map(PortRange::parse).collect()
    }

    /// The ranges, none of which has a port in common with another one or with `reserved`.
    ///
    /// # Errors
    /// When a part is no port and no range, or a port is in two of them, or in one and in `reserved`.
    pub fn validate(&self, reserved: &[u16]) -> Result<Vec<PortRange>, InvalidPorts> {
        let ranges = self.ranges()?;
        if let Some((one, other)) = first_overlap(&ranges) {
            return Err(InvalidPorts::Overlap(one, other));
        }
        if reserved
            .iter()
            .any(|port| ranges.iter().any(|range| range.contains(*port)))
        {
            return Err(InvalidPorts::Reserved(reserved.to_vec()));
        }
        Ok(ranges)
    }
}

impl From<&str> for ReservablePorts {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for ReservablePorts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl PortRange {
    fn parse(text: &str) -> Result<Self, InvalidPorts> {
        let ends: Vec<&str> = text.split('-').collect();
        match ends[..] {
            [port] => {
                let port = number(port).ok_or(InvalidPorts::Port)?;
                Self::new(port, port)
            }
            [start, end] => {
                let start = number(start).ok_or_else(|| InvalidPorts::NoStart(text.to_owned()))?;
                let end = number(end).ok_or_else(|| InvalidPorts::NoEnd(text.to_owned()))?;
                if start > end {
                    return Err(InvalidPorts::Descending(text.to_owned()));
                }
                Self::new(start, end)
            }
            _ => Err(InvalidPorts::Separators(text.to_owned())),
        }
    }

    fn new(start: u16, end: u16) -> Result<Self, InvalidPorts> {
        if start < LOWEST || end < LOWEST {
            return Err(InvalidPorts::Port);
        }
        Ok(Self { start, end })
    }

    /// The first port.
    #[must_use]
    pub const fn start(self) -> u16 {
        self.start
    }

    /// The last port.
    #[must_use]
    pub const fn end(self) -> u16 {
        self.end
    }

    /// Whether `port` is in it.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.start <= port && port <= self.end
    }

    /// Whether both have a port in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start == self.end {
            write!(formatter, "{}", self.start)
        } else {
            write!(formatter, "[{}-{}]", self.start, self.end)
        }
    }
}

/// The first range that has a port in common with another one, and the first of those. Takes `n log n` steps, because the
/// ports come from outside.
fn first_overlap(ranges: &[PortRange]) -> Option<(PortRange, PortRange)> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|index| ranges[*index].start);
    let mut reach = 0;
    let mut first: Option<usize> = None;
    for (position, index) in order.iter().enumerate() {
        let range = ranges[*index];
        let next = order.get(position + 1).map(|next| ranges[*next]);
        if range.start <= reach || next.is_some_and(|next| next.start <= range.end) {
            first = Some(first.map_or(*index, |first| first.min(*index)));
        }
        reach = reach.max(range.end);
    }
    let first = first?;
    let mut others = ranges.iter().enumerate().filter(|(index, _)| *index != first);
    let (_, other) = others.find(|(_, other)| ranges[first].overlaps(**other))?;
    Some((ranges[first], *other))
}

/// A number of digits only, as Go's `ParseUint` takes it: no sign.
fn number(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ports: &str) -> String {
        match ReservablePorts::from(ports).validate(&[5555, 6666]) {
            Ok(ranges) => ranges.iter().map(PortRange::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    /// Ports, ranges, and what the original says of everything else.
    #[test]
    fn ports_are_read_and_refused_as_the_original_does() {
        for (ports, expected) in [
            ("1024", "1024"),
            ("1024-1033,2000", "[1024-1033] 2000"),
            ("65535", "65535"),
            ("6000-6000", "6000"),
            ("", "port must be between 1024 and 65535"),
            ("1023", "port must be between 1024 and 65535"),
            ("1023-65535", "port must be between 1024 and 65535"),
            ("65536", "port must be between 1024 and 65535"),
            ("+2000", "port must be between 1024 and 65535"),
            ("1024,", "port must be between 1024 and 65535"),
            ("1024-65536", "range (1024-65536) requires an ending port"),
            ("-2000", "range (-2000) requires a starting port"),
            ("2000-", "range (2000-) requires an ending port"),
            ("2000-1999", "range (2000-1999) must be in ascending numeric order"),
            ("1-2-3", "range (1-2-3) has too many '-' separators"),
            ("2000-3000,2500", "Overlapping values: [2000-3000] and 2500"),
            ("9000,2500,2000-2500", "Overlapping values: 2500 and [2000-2500]"),
            (
                "2000-9000,9500,2001,2002,8000",
                "Overlapping values: [2000-9000] and 2001",
            ),
            ("8000,2001,2000-9000", "Overlapping values: 8000 and [2000-9000]"),
            ("2000,2000", "Overlapping values: 2000 and 2000"),
            (
                "5000-6000",
                "Invalid ports. Reservable ports must not include the following reserved system component ports: [5555 6666].",
            ),
        ] {
            assert_eq!(said(ports), expected, "{ports}");
        }
    }
}
