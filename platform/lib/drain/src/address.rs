//! The addresses at which a drain may be (`BLACKLISTED_SYSLOG_RANGES`).
//!
//! The check is made on the address that is dialled, after its name was resolved. An IPv4 address has several forms in
//! IPv6, and the unspecified address reaches the machine itself. A range blocks all forms of its addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_config::{Setting, Shape};

/// The ranges of addresses that are not dialled.
///
/// The text form is `start-end,start-end`, where both ends belong to the range, and a single address is a range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressPolicy {
    blocked: Arc<[RangeInclusive<IpAddr>]>,
}

/// The error for a text that is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("address range `{range}` {reason}")]
pub struct InvalidRange {
    range: String,
    reason: &'static str,
}

impl Setting for AddressPolicy {
    fn shape() -> Shape {
        Shape::Value("ranges of addresses such as `10.0.0.0-10.255.255.255,fd00::-fdff::`")
    }
}

impl AddressPolicy {
    /// Returns the policy that allows every address.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// Whether `address` may be dialled.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.blocked.is_empty() || !equivalents(address).any(|equivalent| self.blocks(equivalent))
    }

    fn blocks(&self, address: IpAddr) -> bool {
        self.blocked.iter().any(|range| range.contains(&address))
    }
}

/// Returns `address` and the other addresses that reach the same machine.
fn equivalents(address: IpAddr) -> impl Iterator<Item = IpAddr> {
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

/// Returns the IPv4 address that an IPv6 address contains: mapped (RFC 4291), compatible (RFC 4291), NAT64
/// (`64:ff9b::/96`, RFC 6052) or 6to4 (`2002::/16`, RFC 3056).
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

/// Parses one range.
fn range(text: &str) -> Result<RangeInclusive<IpAddr>, InvalidRange> {
    let invalid = |reason| InvalidRange {
        range: text.to_owned(),
        reason,
    };
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    // Canonical, so that a range in IPv4-mapped form blocks the IPv4 addresses.
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

    /// Both ends of a range are blocked, in IPv4 and IPv6, and so is every other form of a blocked address.
    #[test]
    fn ranges_block_every_form_of_an_address() {
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

    /// A policy is printed as it is parsed, and each mistake has its text.
    #[test]
    fn ranges_are_parsed_and_printed() {
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
