//! The limits of a public port as operators set them.

use serde::{Deserialize, Serialize};
use weir_config::Problems;

use super::{PortLimits, RESERVED, half};

/// Bounds of a public port's connections as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPortLimits {
    /// Most connections.
    pub connections: usize,
    /// Most connections of one address; 0: half of `connections`.
    pub connections_per_address: usize,
    /// Places beside those for callers with a certificate of the stack.
    pub connections_reserved: usize,
}

impl Default for RawPortLimits {
    fn default() -> Self {
        Self {
            connections: 2048,
            connections_per_address: 0,
            connections_reserved: RESERVED,
        }
    }
}

/// What the keys of a section `limits` mean that has the fields of [`RawPortLimits`].
pub const PORT_LIMITS_DOCS: [(&str, &str); 3] = [
    (
        "limits.connections",
        "Most connections; beyond them the longest idle one of the address that holds most is closed, or the new one.",
    ),
    (
        "limits.connections_per_address",
        "Most connections of one IPv4 address or IPv6 /64; 0: half of `connections`. Behind a load balancer all clients have \
         its address:\nset it to `connections` there.",
    ),
    (
        "limits.connections_reserved",
        "Connections beside those for callers that show a certificate of the stack's CA, as its own parts do.",
    ),
];

/// Checks the three keys of a section `limits`.
pub fn port_limits(raw: &RawPortLimits, problems: &mut Problems) -> PortLimits {
    let most = raw.connections;
    problems.require((1..=100_000).contains(&most), "limits.connections", most, "1 to 100000");
    let per_address = raw.connections_per_address;
    problems.require(
        per_address <= most,
        "limits.connections_per_address",
        per_address,
        "0 (half of `limits.connections`) to `limits.connections`",
    );
    let reserved = raw.connections_reserved;
    problems.require(
        (1..=100_000).contains(&reserved),
        "limits.connections_reserved",
        reserved,
        "1 to 100000",
    );
    PortLimits {
        per_address: if per_address == 0 { half(most) } else { per_address },
        reserved,
        ..PortLimits::of(most)
    }
}
