//! The accept loop of every port of the stack, and the limits on its connections.
//!
//! This module owns a port's connections from `accept` to their end: the deadline of the TLS handshake, a bounded
//! number of places with a share for each peer network, a reserve for callers that show a certificate of the stack's
//! CA, and the budgets of the bytes that requests hold. A component takes [`Connection`]s from [`Connections`] and
//! serves its protocol on them.
//!
//! ```text
//! accept ─▶ places of handshakes ─▶ TLS ─┬─ certificate of the stack ─▶ reserved places ─┬─▶ Connection
//!                                        └─ any other caller ─────────▶ other places ────┘
//! ```
//!
//! Each of the three kinds of place follows one rule ([`pool`]): a network that holds its share loses its longest idle
//! connection to a new one, a full port closes the longest idle connection of the network that holds the most, and a
//! connection with a request under way is never closed for another. A connection for which there is no place is closed
//! at once. The port never stops accepting, so that no caller waits behind many others in the kernel's queue.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

mod accept;
pub(crate) mod budget;
mod config;
mod connection;
mod place;
mod pool;

pub use accept::Connections;
pub use budget::{Exceeded, Scope};
pub use config::RawPortLimits;
pub use connection::Connection;
pub use place::{Place, UnderWay};
pub use pool::SharedPlaces;

/// The default of [`PortLimits::handshake`].
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The default of [`PortLimits::reserved`].
pub(crate) const RESERVED: usize = 256;

/// The limits of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortLimits {
    /// The largest number of connections. On a port where a certificate of the stack's CA is optional, connections that
    /// show one are not counted here, but in `reserved`.
    pub connections: usize,
    /// The largest number of connections of one peer network, which is an IPv4 address or the /64 of an IPv6 address.
    pub per_address: usize,
    /// The largest number of connections that show a certificate of the stack's CA, on a port where that is optional.
    pub reserved: usize,
    /// How long a TLS handshake may take before the connection is closed.
    pub handshake: Duration,
    /// How many bytes of the TCP stream are read by one system call.
    pub read_ahead: usize,
    /// Whether small writes wait for a flush and are then written together.
    pub gathers_writes: bool,
    /// The largest numbers of bytes that the requests under way on this port may hold.
    pub held: HeldBytes,
}

/// The largest numbers of bytes that requests under way may hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBytes {
    /// The bytes that the requests of one connection may hold.
    pub connection: usize,
    /// The bytes that the requests of all connections of one peer network may hold.
    pub address: usize,
    /// The bytes that the requests of all connections of the port may hold.
    pub port: usize,
}

impl HeldBytes {
    /// The limits for requests of people and programs, such as forms, JSON and SQL.
    pub const SMALL: Self = Self {
        connection: 4 << 20,
        address: 8 << 20,
        port: 32 << 20,
    };

    /// The limits for messages between components of the stack, one of which may have 50 MiB.
    pub const LARGE: Self = Self {
        connection: 64 << 20,
        address: 128 << 20,
        port: 256 << 20,
    };
}

impl PortLimits {
    /// Limits with this many connections, of which one peer network may have half, and with the defaults for everything
    /// else.
    #[must_use]
    pub const fn of(connections: usize) -> Self {
        Self {
            connections,
            per_address: half(connections),
            reserved: RESERVED,
            handshake: HANDSHAKE_DEADLINE,
            read_ahead: 16 * 1024,
            gathers_writes: true,
            held: HeldBytes::SMALL,
        }
    }
}

/// The default share of one peer network: half of the connections. A single proxy in front of a port can then serve
/// many clients, and a single attacker leaves the other half to everybody else.
pub(crate) const fn half(connections: usize) -> usize {
    connections.div_ceil(2)
}

/// The peers whose connections share one limit: an IPv4 address, or the IPv6 /64 that a provider gives to one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PeerNetwork(IpAddr);

impl From<IpAddr> for PeerNetwork {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            address => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::PeerNetwork;

    fn network(address: &str) -> PeerNetwork {
        PeerNetwork::from(address.parse::<std::net::IpAddr>().expect("an address"))
    }

    /// The addresses of one IPv6 /64 are one peer, and so are an IPv4 address and its IPv6-mapped form.
    #[test]
    fn a_slash_64_is_one_peer() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
