//! The one way in: every port of the stack accepts its connections here.
//!
//! Owns a port's connections from `accept` to their end: a deadline for the TLS handshake, a bounded number of places with a
//! share for each peer network, a reserve for callers that show a certificate of the stack's CA, and the budgets of the bytes
//! that requests hold. A component takes [`Connection`]s from [`Connections`] and serves its protocol on them.
//!
//! ```text
//! accept ─▶ places of handshakes ─▶ TLS ─┬─ certificate of the stack ─▶ reserved places ─┬─▶ Connection
//!                                        └─ any other caller ─────────▶ other places ────┘
//! ```
//!
//! Each of the three kinds of place follows one rule ([`pool`]): a network that holds its share gives up its longest idle
//! connection for a new one, a full port gives up the longest idle connection of the network that holds most, and a
//! connection on which something is under way is never given up. Whoever cannot be seated is closed at once: a port never
//! stops accepting, so no caller waits behind a crowd in the kernel's queue.

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

/// A client that has not finished its TLS handshake by then is cut, unless a port says otherwise.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Places for callers with a certificate of the stack, beside those of everybody.
pub(crate) const RESERVED: usize = 256;

/// What one port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortLimits {
    /// Most connections. On a port that knows the stack's certificates and does not demand them, those that show one do
    /// not count here.
    pub connections: usize,
    /// Most connections of one peer network: an IPv4 address, or the /64 of an IPv6 address.
    pub per_address: usize,
    /// Most connections that show a certificate of the stack, on a port that does not demand one.
    pub reserved: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// Bytes of the TCP stream that are read at once.
    pub read_ahead: usize,
    /// Whether small writes wait for a flush, to leave together.
    pub gathers_writes: bool,
    /// Most bytes that the requests under way on this port hold.
    pub held: HeldBytes,
}

/// How many bytes of requests may be held at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBytes {
    /// By one connection.
    pub connection: usize,
    /// By all connections of one peer network.
    pub address: usize,
    /// By all connections of the port.
    pub port: usize,
}

impl HeldBytes {
    /// For requests of people and programs: forms, JSON, SQL.
    pub const SMALL: Self = Self {
        connection: 4 << 20,
        address: 8 << 20,
        port: 32 << 20,
    };

    /// For messages between parts of the stack, which may have 50 MiB.
    pub const LARGE: Self = Self {
        connection: 64 << 20,
        address: 128 << 20,
        port: 256 << 20,
    };
}

impl PortLimits {
    /// A port with so many connections, half of them from one peer network at most.
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

/// The share of one peer network where nothing else is configured: half, so that a single proxy in front of a port is not in
/// its own way and a single attacker leaves the other half to everybody else.
pub(crate) const fn half(connections: usize) -> usize {
    connections.div_ceil(2)
}

/// Whose connections share: an IPv4 address, or the /64 that one customer of a provider has.
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

    /// One customer is one peer, however many addresses come with the line.
    #[test]
    fn a_customer_is_one_peer() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
