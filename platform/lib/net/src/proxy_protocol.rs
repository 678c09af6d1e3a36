//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a header before the first byte of a connection, in
//! which a proxy says for whom it connects. Pure: a parser of the first bytes, and a writer.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxiedAddresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// A version of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// They may become a header.
    Incomplete,
    /// They are no header.
    Absent,
    /// They begin as a header and are none.
    Malformed,
    /// They begin with a header.
    Present {
        /// Bytes of the header; what the client said comes behind it.
        length: usize,
        /// The ends of the client's connection; `None` where the proxy connects for itself, or does not know.
        addresses: Option<ProxiedAddresses>,
    },
}

/// What version 1 begins with.
const LINE: &[u8] = b"PROXY ";
/// Most bytes of version 1, with the end of its line.
const LONGEST_LINE: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const HEAD: usize = 16;
/// Most bytes of addresses and extensions of version 2 that are taken.
const LONGEST_BODY: usize = 4096;
/// The command of version 2 that says the connection is the proxy's own.
const LOCAL: u8 = 0x20;
/// The command of version 2 that says the connection is a client's.
const PROXY: u8 = 0x21;
/// TCP over IPv4.
const TCP4: u8 = 0x11;
/// TCP over IPv6.
const TCP6: u8 = 0x21;

impl ProxyHeader {
    /// Reads the first `bytes` of a connection. A header is at most 4,112 bytes long.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        if begins(bytes, SIGNATURE) {
            binary(bytes)
        } else if begins(bytes, LINE) {
            line(bytes)
        } else {
            Self::Absent
        }
    }
}

/// Whether `bytes` begin with `start`, as far as there are any.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let count = bytes.len().min(start.len());
    bytes[..count] == start[..count]
}

fn line(bytes: &[u8]) -> ProxyHeader {
    let searched = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        return match bytes.len() < LONGEST_LINE {
            true => ProxyHeader::Incomplete,
            false => ProxyHeader::Malformed,
        };
    };
    let length = end + 2;
    let words: Option<Vec<&str>> = std::str::from_utf8(&bytes[..end])
        .ok()
        .map(|text| text.split(' ').collect());
    match words.as_deref() {
        Some(["PROXY", "UNKNOWN", ..]) => ProxyHeader::Present {
            length,
            addresses: None,
        },
        Some(["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to]) => {
            let address = |host: &str, port: &str| {
                let host: IpAddr = host.parse().ok()?;
                (host.is_ipv4() == (*family == "TCP4")).then_some(())?;
                // `parse` would take a sign.
                let port = port
                    .bytes()
                    .all(|digit| digit.is_ascii_digit())
                    .then(|| port.parse().ok())??;
                Some(SocketAddr::new(host, port))
            };
            match (address(source, from), address(destination, to)) {
                (Some(source), Some(destination)) => ProxyHeader::Present {
                    length,
                    addresses: Some(ProxiedAddresses { source, destination }),
                },
                _ => ProxyHeader::Malformed,
            }
        }
        _ => ProxyHeader::Malformed,
    }
}

fn binary(bytes: &[u8]) -> ProxyHeader {
    let Some(head) = bytes.first_chunk::<HEAD>() else {
        return ProxyHeader::Incomplete;
    };
    let (command, family) = (head[12], head[13]);
    let body = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if !matches!(command, LOCAL | PROXY) || body > LONGEST_BODY {
        return ProxyHeader::Malformed;
    }
    let length = HEAD + body;
    let Some(body) = bytes.get(HEAD..length) else {
        return ProxyHeader::Incomplete;
    };
    let addresses = match (command, family) {
        (PROXY, TCP4) => body.first_chunk::<12>().map(|body| {
            let host = |at: usize| IpAddr::from([body[at], body[at + 1], body[at + 2], body[at + 3]]);
            let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            ProxiedAddresses {
                source: SocketAddr::new(host(0), port(8)),
                destination: SocketAddr::new(host(4), port(10)),
            }
        }),
        (PROXY, TCP6) => body.first_chunk::<36>().map(|body| {
            let host = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&body[at..at + 16]);
                IpAddr::from(octets)
            };
            let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            ProxiedAddresses {
                source: SocketAddr::new(host(0), port(32)),
                destination: SocketAddr::new(host(16), port(34)),
            }
        }),
        // The proxy's own connection, or a protocol whose addresses say nothing here.
        _ => {
            return ProxyHeader::Present {
                length,
                addresses: None,
            };
        }
    };
    match addresses {
        Some(_) => ProxyHeader::Present { length, addresses },
        None => ProxyHeader::Malformed,
    }
}

impl ProxiedAddresses {
    /// The header that says these addresses.
    #[must_use]
    pub fn header(&self, version: ProxyVersion) -> Vec<u8> {
        let (source, destination) = self.of_one_family();
        match version {
            ProxyVersion::V1 => {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                let mut text = String::with_capacity(LONGEST_LINE);
                // Writing to a text does not fail.
                write!(
                    text,
                    "PROXY {family} {} {} {} {}\r\n",
                    source.ip(),
                    destination.ip(),
                    source.port(),
                    destination.port()
                )
                .ok();
                text.into_bytes()
            }
            ProxyVersion::V2 => {
                let mut bytes = SIGNATURE.to_vec();
                bytes.push(PROXY);
                match (source.ip(), destination.ip()) {
                    (IpAddr::V4(source), IpAddr::V4(destination)) => {
                        bytes.extend([TCP4, 0, 12]);
                        bytes.extend(source.octets());
                        bytes.extend(destination.octets());
                    }
                    (source, destination) => {
                        bytes.extend([TCP6, 0, 36]);
                        bytes.extend(as_v6(source).octets());
                        bytes.extend(as_v6(destination).octets());
                    }
                }
                bytes.extend(source.port().to_be_bytes());
                bytes.extend(destination.port().to_be_bytes());
                bytes
            }
        }
    }

    /// The addresses in one family, as a header has to have them: IPv4 if both can be.
    fn of_one_family(&self) -> (SocketAddr, SocketAddr) {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (source, destination) = (canonical(self.source), canonical(self.destination));
        if source.is_ipv4() == destination.is_ipv4() {
            return (source, destination);
        }
        let mapped = |address: SocketAddr| SocketAddr::new(as_v6(address.ip()).into(), address.port());
        (mapped(source), mapped(destination))
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_ipv6_mapped(&address),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = SocketAddr> {
        let host = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from)
        ];
        (host, any::<u16>()).prop_map(|(host, port)| SocketAddr::new(host, port))
    }

    proptest! {
        /// What is written is read again, with whatever comes behind it; each part of it is incomplete.
        #[test]
        fn headers_are_read_again(source in address(), destination in address(), behind in any::<[u8; 3]>()) {
            let addresses = ProxiedAddresses { source, destination };
            let (source, destination) = addresses.of_one_family();
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let header = addresses.header(version);
                let bytes = [&header[..], &behind].concat();
                let length = header.len();
                let read = Some(ProxiedAddresses { source, destination });
                prop_assert_eq!(ProxyHeader::parse(&bytes), ProxyHeader::Present { length, addresses: read });
                for count in 0..length {
                    prop_assert_eq!(ProxyHeader::parse(&bytes[..count]), ProxyHeader::Incomplete);
                }
            }
        }

        /// No bytes make the parser panic, and a header is never longer than what there is.
        #[test]
        fn garbage_is_told(start in 0_usize..3, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [[&b""[..], LINE, SIGNATURE][start], &rest].concat();
            if let ProxyHeader::Present { length, .. } = ProxyHeader::parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }

    /// The forms that HAProxy's text has, and what comes close to them.
    #[test]
    fn forms_of_the_specification() {
        let present = |length, addresses| ProxyHeader::Present { length, addresses };
        assert_eq!(ProxyHeader::parse(b"PROXY UNKNOWN\r\n"), present(15, None));
        assert_eq!(
            ProxyHeader::parse(b"PROXY UNKNOWN ff:: ff:: 1 2\r\nGET"),
            present(29, None)
        );
        let known = ProxiedAddresses {
            source: "192.168.0.1:56324".parse().expect("an address"),
            destination: "192.168.0.11:443".parse().expect("an address"),
        };
        let text = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
        assert_eq!(ProxyHeader::parse(text), present(text.len(), Some(known)));
        let local = [SIGNATURE, &[LOCAL, 0, 0, 0]].concat();
        assert_eq!(ProxyHeader::parse(&local), present(16, None));
        let other: [&[u8]; 7] = [
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            &[b'P', b'R', b'O', b'X', b'Y', b' '].repeat(20),
            &[SIGNATURE, &[0x31, TCP4, 0, 12]].concat(),
            &[SIGNATURE, &[PROXY, TCP4, 0, 2, 1, 2]].concat(),
        ];
        for bytes in other {
            assert_eq!(
                ProxyHeader::parse(bytes),
                ProxyHeader::Malformed,
                "{}",
                bytes.escape_ascii()
            );
        }
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PROXIES", b"\r\n\r\nX"] {
            assert_eq!(ProxyHeader::parse(bytes), ProxyHeader::Absent);
        }
    }
}
