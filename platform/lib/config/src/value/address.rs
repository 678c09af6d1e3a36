//! Addresses: those on which a component listens, and those of its peers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Parsed, ValueError};

pub(crate) const LISTEN: &str = "an address to listen on such as `127.0.0.1:8082`, `[::1]:8082` or `:8082`";
pub(crate) const PEER: &str = "an address such as `10.0.0.1:8082` or `doppler.internal:8082`";

/// An address to listen on: `127.0.0.1:8082`, `localhost:8082` or `:8082` (all interfaces). Port 0 means any free port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenAddr(SocketAddr);

impl ListenAddr {
    /// The address with this port on the loopback interface.
    #[must_use]
    pub const fn loopback(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The address with this port on all interfaces.
    #[must_use]
    pub const fn any(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
    }

    /// The address in the form that sockets are bound to.
    #[must_use]
    pub const fn socket(self) -> SocketAddr {
        self.0
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl FromStr for ListenAddr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let invalid = ValueError { expected: LISTEN };
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or(invalid)?;
        let port = port_number(port).ok_or(invalid)?;
        match host {
            "" => Ok(Self::any(port)),
            "localhost" => Ok(Self::loopback(port)),
            _ => Err(invalid),
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for ListenAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed::new(LISTEN))
    }
}

/// The address of a peer: a host name or an IP address, and a port. A name is resolved for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddr {
    host: String,
    port: u16,
}

impl PeerAddr {
    /// The host name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for PeerAddr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let invalid = ValueError { expected: PEER };
        let (host, port) = text.rsplit_once(':').ok_or(invalid)?;
        let port = port_number(port).filter(|port| *port != 0).ok_or(invalid)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().map_err(|_| invalid)?.to_string(),
            None if is_host(host) => host.to_owned(),
            None => return Err(invalid),
        };
        Ok(Self { host, port })
    }
}

fn port_number(text: &str) -> Option<u16> {
    // The standard parser would also accept a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Whether the text can be a host name or an IPv4 address. Names with `_` occur in deployments.
fn is_host(host: &str) -> bool {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // No DNS name is longer.
    !host.is_empty() && host.len() <= 253 && host.bytes().all(usable)
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for PeerAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed::new(PEER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Valid addresses to listen on are parsed and shown with their IP address, and others are refused.
    #[test]
    fn parses_listen_addresses() {
        for (text, shown) in [
            ("127.0.0.1:8082", "127.0.0.1:8082"),
            ("[::1]:0", "[::1]:0"),
            (":8082", "0.0.0.0:8082"),
            ("localhost:1", "127.0.0.1:1"),
        ] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), shown);
        }
        for text in ["", "8082", "127.0.0.1", "host:80", "127.0.0.1:99999", ":+1", "::1"] {
            assert!(text.parse::<ListenAddr>().is_err(), "{text}");
        }
        assert_eq!(ListenAddr::any(1).socket().port(), 1);
    }

    /// The address of a peer may have a name, and needs a port.
    #[test]
    fn parses_peer_addresses() {
        for text in ["10.0.0.1:8082", "doppler.internal:8082", "[::1]:8082", "log_cache:1"] {
            assert_eq!(text.parse::<PeerAddr>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "host",
            "host:0",
            ":80",
            "a b:80",
            "http://host:80",
            "[::1:80",
            "::1:80",
            "[host]:80",
        ] {
            assert!(text.parse::<PeerAddr>().is_err(), "{text}");
        }
        let peer = PeerAddr::from(SocketAddr::from((Ipv6Addr::LOCALHOST, 7)));
        assert_eq!((peer.host(), peer.port()), ("::1", 7));
    }
}
