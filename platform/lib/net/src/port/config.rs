//! The configuration of a public port's limits.

use serde::{Deserialize, Serialize};
use weir_config::Setting;

use super::{PortLimits, RESERVED, half};

/// The limits of a public port's connections, as they are written in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawPortLimits {
    /// Most connections. Beyond them, the longest idle connection of the address that holds the most is closed, or the
    /// new one if none is idle.
    #[setting(default = 2048, min = 1, max = 100_000)]
    pub connections: usize,
    /// Most connections of one IPv4 address or IPv6 /64; 0 means half of `connections`. Behind a load balancer all
    /// clients have the balancer's address: set this to the value of `connections` there.
    #[setting(max = self.connections)]
    pub connections_per_address: usize,
    /// Additional connections for callers that show a certificate of the stack's CA, as the stack's own components do.
    #[setting(default = RESERVED, min = 1, max = 100_000)]
    pub connections_reserved: usize,
}

impl RawPortLimits {
    /// The limits of a port with this configuration.
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
