//! The limits of a public port as operators set them.

use serde::{Deserialize, Serialize};
use weir_config::Setting;

use super::{PortLimits, RESERVED, half};

/// Bounds of a public port's connections as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawPortLimits {
    /// Most connections; beyond them the longest idle one of the address that holds most is closed, or the new one.
    #[setting(default = 2048, min = 1, max = 100_000)]
    pub connections: usize,
    /// Most connections of one IPv4 address or IPv6 /64; 0: half of `connections`. Behind a load balancer all clients have its
    /// address: set it to `connections` there.
    #[setting(max = self.connections)]
    pub connections_per_address: usize,
    /// Connections beside those for callers that show a certificate of the stack's CA, as its own parts do.
    #[setting(default = RESERVED, min = 1, max = 100_000)]
    pub connections_reserved: usize,
}

impl RawPortLimits {
    /// The limits of a port with these bounds.
    #[must_use]
    pub fn limits(&self) -> PortLimits {
        let per_address = match self.connections_per_address {
            0 => half(self.connections),
            most => most,
        };
        PortLimits {
            per_address,
            reserved: self.connections_reserved,
            ..PortLimits::of(self.connections)
        }
    }
}
