//! Which addresses a drain may be at (`BLACKLISTED_SYSLOG_RANGES`).
//!
//! The check is made on the address that is dialled, after the name was resolved. An IPv4 address has several spellings in
//! IPv6, and the unspecified address reaches this very machine: a range holds for all of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Ranges of addresses that are not dialled: `start-end,start-end`, ends included; a single address is a range, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressPolicy {
    blocked: Arc<[RangeInclusive<IpAddr>]>,
}

/// A range that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("address range `{range}` {reason}")]
pub struct InvalidRange {
    range: String,
    reason: &'static str,
}

impl AddressPolicy {
    /// Everything is allowed.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// Whether `address` may be dialled.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.blocked.is_empty() || !spellings(address).any(|spelling| self.blocks(spelling))
    }

    fn blocks(&self, address: IpAddr) -> bool {
        self.blocked.iter().any(|range| range.contains(&address))
    }
}

/// The address, and the others that lead to the same place.
fn spellings(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let embedded = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => embedded(address),
    };
    let plain = embedded.map_or(address, IpAddr::V4);
    let local = plain.is_unspecified();
    [Some(address), embedded.map(IpAddr::V4)]
        .into_iter()
        .chain([
            local.then_some(Ipv4Addr::LOCALHOST.into()),
            local.then_some(Ipv6Addr::LOCALHOST.into()),
        ])
        .flatten()
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64 (`64:ff9b::/96`) or 6to4 (`2002::/16`).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some(mapped);
    }
    let v4 = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(v4(high, low))
        }
        _ => None,
    }
}

impl FromStr for AddressPolicy {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let ranges = text.split(',').map(str::trim).filter(|range| !range.is_empty());
        let blocked: Result<Vec<_>, _> = ranges.map(range).collect();
        Ok(Self {
            blocked: blocked?.into(),
        })
    }
}

fn range(text: &str) -> Result<RangeInclusive<IpAddr>, InvalidRange> {
    let invalid = |reason| InvalidRange {
        range: text.to_owned(),
        reason,
    };
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let address = |text: &str| -> Option<IpAddr> { text.trim().parse::<IpAddr>().ok().map(|it| it.to_canonical()) };
    let (Some(start), Some(end)) = (address(start), address(end)) else {
        return Err(invalid("is not made of addresses: write `start-end`"));
    };
    if start.is_ipv4() != end.is_ipv4() {
        return Err(invalid("mixes IPv4 and IPv6"));
    }
    if start > end {
        return Err(invalid("ends before it starts"));
    }
    Ok(start..=end)
}

impl fmt::Display for AddressPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.blocked.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{}-{}", range.start(), range.end())?;
        }
        Ok(())
    }
}

impl TryFrom<String> for AddressPolicy {
    type Error = InvalidRange;

    fn try_from(text: String) -> Result<Self, InvalidRange> {
        text.parse()
    }
}

impl From<AddressPolicy> for String {
    fn from(policy: AddressPolicy) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(policy: &str, address: &str) -> bool {
        let policy: AddressPolicy = policy.parse().unwrap();
        policy.allows(address.parse().unwrap())
    }

    /// Both ends belong to a range, in both families, and no spelling gets around it.
    #[test]
    fn ranges_hold_for_every_spelling() {
        let policy = "10.0.0.5-10.0.0.9, 127.0.0.0-127.255.255.255,fd00::-fd00::ffff,::1";
        for blocked in [
            "10.0.0.5",
            "10.0.0.7",
            "10.0.0.9",
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "0.0.0.0",
            "::",
            "::ffff:0.0.0.0",
            "::1",
            "fd00::1",
        ] {
            assert!(!allowed(policy, blocked), "{blocked}");
        }
        for open in [
            "10.0.0.4",
            "10.0.0.10",
            "::ffff:10.0.0.10",
            "fd01::",
            "2001:db8::1",
            "::2",
        ] {
            assert!(allowed(policy, open), "{open}");
        }
        assert!(allowed("", "127.0.0.1") && allowed("", "::"));
        assert!(!allowed("::ffff:10.0.0.1-::ffff:10.0.0.2", "10.0.0.2"));
    }

    /// It is written as it is read, and mistakes are told.
    #[test]
    fn ranges_are_read_and_written() {
        let policy: AddressPolicy = " 10.0.0.5-10.0.0.9,::1,".parse().unwrap();
        assert_eq!(policy.to_string(), "10.0.0.5-10.0.0.9,::1-::1");
        for (text, reason) in [
            (
                "10.0.0.0/8",
                "address range `10.0.0.0/8` is not made of addresses: write `start-end`",
            ),
            ("a-b", "address range `a-b` is not made of addresses: write `start-end`"),
            (
                "10.0.0.9-10.0.0.5",
                "address range `10.0.0.9-10.0.0.5` ends before it starts",
            ),
            ("10.0.0.9-::1", "address range `10.0.0.9-::1` mixes IPv4 and IPv6"),
        ] {
            assert_eq!(text.parse::<AddressPolicy>().unwrap_err().to_string(), reason);
        }
    }
}
