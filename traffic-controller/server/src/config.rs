//! The traffic controller's configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_auth::{RawUaa, UAA_DOCS, UaaConfig};
use weir_config::{ListenAddr, PeerAddr, Problems};
use weir_net::{PORT_LIMITS_DOCS, PortLimits, RawPortLimits, port_limits};
use weir_tls::IdentityFiles;

use crate::stream::session::Patience;
use crate::websocket::keepalive::KeepaliveTimes;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS and WSS.
    pub listen: ListenAddr,
    /// PEM file of the certificate shown to clients.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// CA, certificate and key for the dopplers.
    pub identity: IdentityFiles,
    /// The dopplers, `host:port` each.
    pub dopplers: Vec<PeerAddr>,
    /// File with the operator's token, which opens every stream; empty: there is none.
    pub token_file: PathBuf,
    /// The UAA whose tokens are taken.
    pub uaa: RawUaa,
    /// The domain whose subdomain `doppler` clients see.
    pub system_domain: String,
    /// Bounds of what clients may use.
    pub limits: RawLimits,
    /// How long clients may take.
    pub timeouts: RawTimeouts,
}

/// Bounds as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Most connections.
    pub connections: usize,
    /// Most connections of one address; 0: half of `connections`.
    pub connections_per_address: usize,
    /// Connections beside those for callers with a certificate of the stack.
    pub connections_reserved: usize,
    /// Most streams.
    pub subscriptions: usize,
    /// Most app streams of one user or client that may not read everything.
    pub streams_per_caller: usize,
    /// Most bytes of a request's head.
    pub header_bytes: weir_config::ByteSize,
}

/// Times as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTimeouts {
    /// For the TLS handshake.
    pub handshake: weir_config::Duration,
    /// For a request's head, and between requests.
    pub header: weir_config::Duration,
    /// Rest between a pong and the next ping.
    pub ping_interval: weir_config::Duration,
    /// For a pong.
    pub pong: weir_config::Duration,
    /// For a piece of the stream; then the client counts as slow.
    pub slow_consumer: weir_config::Duration,
    /// For control frames, and for the rest of a stream that ends.
    pub write: weir_config::Duration,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(8081),
            cert: PathBuf::new(),
            key: PathBuf::new(),
            identity: IdentityFiles::default(),
            dopplers: vec![ListenAddr::loopback(8082).socket().into()],
            token_file: PathBuf::new(),
            uaa: RawUaa::default(),
            system_domain: String::new(),
            limits: RawLimits::default(),
            timeouts: RawTimeouts::default(),
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 0,
            connections_reserved: RawPortLimits::default().connections_reserved,
            subscriptions: 2000,
            streams_per_caller: 500,
            header_bytes: weir_config::ByteSize::kib(32),
        }
    }
}

impl Default for RawTimeouts {
    fn default() -> Self {
        let seconds = weir_config::Duration::from_secs;
        let patience = Patience::default();
        Self {
            handshake: seconds(10),
            header: seconds(10),
            ping_interval: patience.keepalive.interval.into(),
            pong: patience.keepalive.timeout.into(),
            slow_consumer: patience.slow_consumer.into(),
            write: patience.write.into(),
        }
    }
}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to serve HTTPS and WSS.
    pub listen: ListenAddr,
    /// PEM file of the certificate shown to clients.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// CA, certificate and key for the dopplers.
    pub identity: IdentityFiles,
    /// The dopplers, `host:port` each.
    pub dopplers: Vec<PeerAddr>,
    /// File with the operator's token; empty if there is none.
    pub token_file: PathBuf,
    /// The UAA whose tokens are taken.
    pub uaa: Option<UaaConfig>,
    /// The domain whose subdomain `doppler` clients see.
    pub system_domain: String,
    /// What its port takes.
    pub port: PortLimits,
    /// Most streams.
    pub max_subscriptions: usize,
    /// Most app streams of one user or client that may not read everything.
    pub streams_per_caller: usize,
    /// Most bytes of a request's head.
    pub header_bytes: usize,
    /// For a request's head, and between requests.
    pub header_timeout: Duration,
    pub(crate) patience: Patience,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.require(!raw.dopplers.is_empty(), "dopplers", "[]", "at least one `host:port`");
        let domain = &raw.system_domain;
        let is_host = domain
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        problems.require(is_host, "system_domain", domain, "a domain name");
        let limits = &raw.limits;
        let port = RawPortLimits {
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            connections_reserved: limits.connections_reserved,
        };
        let port = port_limits(&port, &mut problems);
        for (key, count) in [
            ("limits.subscriptions", limits.subscriptions),
            ("limits.streams_per_caller", limits.streams_per_caller),
        ] {
            problems.require((1..=100_000).contains(&count), key, count, "1 to 100000");
        }
        // hyper's smallest buffer is 8 KiB.
        let header = limits.header_bytes.bytes();
        let fits = (8 << 10..=1 << 20).contains(&header);
        problems.require(fits, "limits.header_bytes", limits.header_bytes, "8KiB to 1MiB");
        let times = &raw.timeouts;
        for (key, time) in [
            ("timeouts.handshake", times.handshake),
            ("timeouts.header", times.header),
            ("timeouts.ping_interval", times.ping_interval),
            ("timeouts.pong", times.pong),
            ("timeouts.slow_consumer", times.slow_consumer),
            ("timeouts.write", times.write),
        ] {
            let sensible = (Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&time.get());
            problems.require(sensible, key, time, "10ms to 1h");
        }
        let mut of_uaa = Problems::default();
        let uaa = raw.uaa.validate(&mut of_uaa);
        problems.nest("uaa", of_uaa);
        problems.into_result(Self {
            listen: raw.listen,
            cert: raw.cert,
            key: raw.key,
            identity: raw.identity,
            dopplers: raw.dopplers,
            token_file: raw.token_file,
            uaa,
            system_domain: raw.system_domain,
            port: PortLimits {
                handshake: raw.timeouts.handshake.get(),
                // A stream knows by the flush what its client has.
                gathers_writes: false,
                ..port
            },
            max_subscriptions: raw.limits.subscriptions,
            streams_per_caller: raw.limits.streams_per_caller,
            header_bytes: raw.limits.header_bytes.as_usize(),
            header_timeout: raw.timeouts.header.get(),
            patience: Patience {
                keepalive: KeepaliveTimes {
                    interval: raw.timeouts.ping_interval.get(),
                    timeout: raw.timeouts.pong.get(),
                },
                slow_consumer: raw.timeouts.slow_consumer.get(),
                write: raw.timeouts.write.get(),
            },
        })
    }
}

/// What each key means, for the example configuration and the reference.
pub const DOCS: &[(&str, &str)] = &[
    ("listen", "Where to serve HTTPS and WSS."),
    ("cert", "PEM file of the certificate shown to clients."),
    ("key", "PEM file of its key."),
    ("identity", "The traffic controller's certificate for the dopplers."),
    (
        "identity.ca",
        "PEM file of the CA that the dopplers' certificates must come from.",
    ),
    ("identity.cert", "PEM file of the certificate shown to dopplers."),
    ("identity.key", "PEM file of its key."),
    ("dopplers", "The dopplers, `host:port` each."),
    (
        "token_file",
        "File with the operator's token, which opens every stream; empty: there is none.",
    ),
    UAA_DOCS[0],
    UAA_DOCS[1],
    UAA_DOCS[2],
    UAA_DOCS[3],
    UAA_DOCS[4],
    UAA_DOCS[5],
    UAA_DOCS[6],
    UAA_DOCS[7],
    UAA_DOCS[8],
    UAA_DOCS[9],
    UAA_DOCS[10],
    (
        "system_domain",
        "Cookies are set for the subdomain `doppler` of this domain; empty: for the host as it was asked for.",
    ),
    ("limits", "Bounds of what clients may use."),
    PORT_LIMITS_DOCS[0],
    PORT_LIMITS_DOCS[1],
    PORT_LIMITS_DOCS[2],
    (
        "limits.subscriptions",
        "Most streams; further ones are answered with 503.",
    ),
    (
        "limits.streams_per_caller",
        "Most app streams of one user or client that may not read everything; further ones are answered with 429.",
    ),
    ("limits.header_bytes", "Most bytes of a request's head."),
    ("timeouts", "How long clients may take."),
    ("timeouts.handshake", "For the TLS handshake."),
    ("timeouts.header", "For a request's head, and between requests."),
    ("timeouts.ping_interval", "Rest between a pong and the next ping."),
    ("timeouts.pong", "For a pong; then the stream is closed with 1008."),
    (
        "timeouts.slow_consumer",
        "For a piece of the stream; then the client is disconnected as a slow consumer.",
    ),
    (
        "timeouts.write",
        "For control frames, and for the rest of a stream that ends.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid, every key has its text, and all that is wrong is said at once.
    #[test]
    fn defaults_documentation_and_problems() {
        Config::try_from(RawConfig::default()).unwrap();
        let example = weir_config::example::<RawConfig>(DOCS).unwrap();
        assert!(example.undocumented.is_empty(), "{:?}", example.undocumented);
        let raw = RawConfig {
            dopplers: Vec::new(),
            system_domain: "evil; Domain=x".to_owned(),
            limits: RawLimits {
                connections: 0,
                subscriptions: 0,
                streams_per_caller: 0,
                header_bytes: weir_config::ByteSize::kib(1),
                ..RawLimits::default()
            },
            timeouts: RawTimeouts {
                pong: weir_config::Duration::from_millis(1),
                ..RawTimeouts::default()
            },
            uaa: RawUaa {
                url: "uaa.example".to_owned(),
                ca: "ca.pem".into(),
                ..RawUaa::default()
            },
            ..RawConfig::default()
        };
        let problems = Config::try_from(raw).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "dopplers",
                "system_domain",
                "limits.connections",
                "limits.subscriptions",
                "limits.streams_per_caller",
                "limits.header_bytes",
                "timeouts.pong",
                "uaa.url"
            ]
        );
    }
}
