//! The traffic controller's configuration.

use std::ops::Deref;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_auth::{RawUaa, UaaConfig};
use weir_config::{ByteSize, Duration, ListenAddr, PeerAddr, Problems, Setting};
use weir_net::{PortLimits, RawPortLimits};
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS and WSS.
    #[setting(default = "127.0.0.1:8081")]
    pub listen: ListenAddr,
    /// PEM file of the certificate shown to clients.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// The traffic controller's certificate for the dopplers.
    pub identity: IdentityFiles,
    /// The dopplers, `host:port` each.
    #[setting(default = ["127.0.0.1:8082"], allowed("at least one `host:port`", |dopplers| !dopplers.is_empty()))]
    pub dopplers: Vec<PeerAddr>,
    /// File with the operator's token, which opens every stream; empty: there is none.
    pub token_file: PathBuf,
    /// The UAA whose tokens are taken.
    pub uaa: RawUaa,
    /// Cookies are set for the subdomain `doppler` of this domain; empty: for the host as it was asked for.
    #[setting(allowed("a domain name", |domain| domain.bytes().all(of_domain)))]
    pub system_domain: String,
    /// Bounds of what clients may use.
    pub limits: RawLimits,
    /// How long clients may take.
    pub timeouts: RawTimeouts,
}

/// Bounds as they are written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    // The next three are those of `RawPortLimits`. Their keys stand beside the others, and `serde(flatten)` would lose what
    // each value has to be: a number from the environment would stay a text, and an error would have no line.
    /// Most connections. Beyond them, the longest idle connection of the address that holds the most is closed, or the
    /// new one if none is idle.
    #[setting(default = 4096, min = 1, max = 100_000)]
    pub connections: usize,
    /// Most connections of one IPv4 address or IPv6 /64; 0 means half of `connections`. Behind a load balancer all
    /// clients have the balancer's address: set this to the value of `connections` there.
    #[setting(max = self.connections)]
    pub connections_per_address: usize,
    /// Additional connections for callers that show a certificate of the stack's CA, as the stack's own components do.
    #[setting(default = RawPortLimits::default().connections_reserved, min = 1, max = 100_000)]
    pub connections_reserved: usize,
    /// Most streams; further ones are answered with 503.
    #[setting(default = 2000, min = 1, max = 100_000)]
    pub subscriptions: usize,
    /// Most app streams of one user or client that may not read everything; further ones are answered with 429.
    #[setting(default = 500, min = 1, max = 100_000)]
    pub streams_per_caller: usize,
    /// Most bytes of a request's head.
    // hyper's smallest buffer is 8 KiB.
    #[setting(default = "32KiB", min = "8KiB", max = "1MiB")]
    pub header_bytes: ByteSize,
}

/// Times as they are written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawTimeouts {
    /// How long a client may take for the TLS handshake.
    #[setting(default = "10s", min = "10ms", max = "1h")]
    pub handshake: Duration,
    /// How long a client may take for a request's head, and between requests.
    #[setting(default = "10s", min = "10ms", max = "1h")]
    pub header: Duration,
    /// How long a client rests between its pong and the next ping.
    #[setting(default = "15s", min = "10ms", max = "1h")]
    pub ping_interval: Duration,
    /// How long a client may take for a pong; then the stream is closed with 1008.
    #[setting(default = "30s", min = "10ms", max = "1h")]
    pub pong: Duration,
    /// How long a client may take for a piece of the stream; then it is disconnected as a slow consumer.
    #[setting(default = "5s", min = "10ms", max = "1h")]
    pub slow_consumer: Duration,
    /// How long a client may take for control frames, and for the rest of a stream that ends.
    #[setting(default = "6s", min = "10ms", max = "1h")]
    pub write: Duration,
}

/// A configuration whose values are in their ranges.
#[derive(Debug, Clone)]
pub struct Config {
    written: RawConfig,
    pub(crate) uaa: Option<UaaConfig>,
    pub(crate) port: PortLimits,
}

impl Deref for Config {
    type Target = RawConfig;

    fn deref(&self) -> &RawConfig {
        &self.written
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = raw.problems();
        let mut of_uaa = Problems::default();
        let uaa = raw.uaa.clone().validate(&mut of_uaa);
        problems.nest("uaa", of_uaa);
        let limits = RawPortLimits {
            connections: raw.limits.connections,
            connections_per_address: raw.limits.connections_per_address,
            connections_reserved: raw.limits.connections_reserved,
        };
        let port = PortLimits {
            handshake: raw.timeouts.handshake.get(),
            // A stream knows by the flush what its client has.
            gathers_writes: false,
            ..limits.limits()
        };
        problems.into_result(Self {
            written: raw,
            uaa,
            port,
        })
    }
}

fn of_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid, and all that is wrong is said at once.
    #[test]
    fn defaults_and_problems() {
        Config::try_from(RawConfig::default()).unwrap();
        let raw = RawConfig {
            dopplers: Vec::new(),
            system_domain: "evil; Domain=x".to_owned(),
            limits: RawLimits {
                connections: 0,
                subscriptions: 0,
                streams_per_caller: 0,
                header_bytes: ByteSize::kib(1),
                ..RawLimits::default()
            },
            timeouts: RawTimeouts {
                pong: Duration::from_millis(1),
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
