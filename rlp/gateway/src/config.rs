//! The RLP gateway's configuration.

use std::ops::Deref;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_auth::{RawUaa, UaaConfig};
use weir_config::{ByteSize, Duration, ListenAddr, PeerAddr, Problems, Setting};
use weir_net::{PortLimits, RawPortLimits};
use weir_tls::IdentityFiles;

use crate::backlog::PIECE;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS.
    #[setting(default = "127.0.0.1:8088")]
    pub listen: ListenAddr,
    /// PEM file of the certificate shown to clients.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// The RLP, `host:port`.
    #[setting(default = "127.0.0.1:8083")]
    pub logs_provider: PeerAddr,
    /// The name that the RLP's certificate must carry.
    #[setting(
        default = "reverselogproxy",
        allowed("the name in the RLP's certificate", |name| !name.is_empty())
    )]
    pub logs_provider_name: String,
    /// The gateway's certificate for the RLP.
    pub identity: IdentityFiles,
    /// File with the operator's token, which reads everything; empty: there is none.
    pub token_file: PathBuf,
    /// The UAA whose tokens are taken.
    pub uaa: RawUaa,
    /// Bounds of what clients may use.
    pub limits: RawLimits,
    /// How long things may take.
    pub timeouts: RawTimeouts,
    /// Streams that clients come back to.
    pub resume: RawResume,
}

/// Bounds as they are written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    // The next three are those of `RawPortLimits`. Their keys stand beside the others, and `serde(flatten)` would lose what
    // each value has to be: a number from the environment would stay a text, and an error would have no line.
    /// Most connections. Beyond them, the longest idle connection of the address that holds the most is closed, or the
    /// new one if none is idle.
    #[setting(default = RawPortLimits::default().connections, min = 1, max = 100_000)]
    pub connections: usize,
    /// Most connections of one IPv4 address or IPv6 /64; 0 means half of `connections`. Behind a load balancer all
    /// clients have the balancer's address: set this to the value of `connections` there.
    #[setting(max = self.connections)]
    pub connections_per_address: usize,
    /// Additional connections for callers that show a certificate of the stack's CA, as the stack's own components do.
    #[setting(default = RawPortLimits::default().connections_reserved, min = 1, max = 100_000)]
    pub connections_reserved: usize,
    /// Most streams; further ones are answered with 503.
    #[setting(default = 1000, min = 1, max = 100_000)]
    pub streams: usize,
    /// Most streams of one user or client; further ones are answered with 429.
    #[setting(default = 500, min = 1, max = 100_000)]
    pub streams_per_caller: usize,
    /// Most selectors of one stream: sources times kinds and names.
    #[setting(default = 4096, min = 1, max = 100_000)]
    pub selectors: usize,
    /// Most selectors of all streams of one user or client; a stream beyond them is answered with 429.
    #[setting(default = 16_384, min = self.selectors, max = 1_000_000)]
    pub selectors_per_caller: usize,
    /// Most bytes of a request's head.
    // hyper's smallest buffer is 8 KiB.
    #[setting(default = "64KiB", min = "8KiB", max = "1MiB")]
    pub header_bytes: ByteSize,
}

/// Times as they are written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawTimeouts {
    /// How long a client may take for the TLS handshake.
    #[setting(default = "10s", min = "10ms", max = "24h")]
    pub handshake: Duration,
    /// How long a client may take for a request's head, and between requests.
    #[setting(default = "10s", min = "10ms", max = "24h")]
    pub header: Duration,
    /// How long a stream may be silent before a heartbeat is sent.
    #[setting(default = "15s", min = "10ms", max = "24h")]
    pub heartbeat: Duration,
    /// How long a stream lasts; then it is closed, and its client comes again.
    #[setting(default = "14m", min = "10ms", max = "24h")]
    pub stream: Duration,
    /// How long a client may take for an event; then it is disconnected as a slow consumer.
    #[setting(default = "60s", min = "10ms", max = "24h")]
    pub slow_consumer: Duration,
    /// How long the RLP may be away; then streams end with an event that says so.
    #[setting(default = "10s", min = "10ms", max = "24h")]
    pub provider: Duration,
}

/// Resumption as it is written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawResume {
    /// How long a stream waits for its client; 0s: not at all.
    #[setting(default = "60s", max = "10m")]
    pub window: Duration,
    /// Most streams that clients may come back to; others get events without ids.
    #[setting(default = 100, max = 10_000)]
    pub sessions: usize,
    /// Most streams that one user or client may come back to; its others get events without ids.
    #[setting(default = 20, min = 1, max = 10_000)]
    pub sessions_per_caller: usize,
    /// Bytes of envelopes that each of these streams keeps.
    #[setting(default = "1MiB", min = ByteSize::new(PIECE as u64), max = "1GiB")]
    pub bytes: ByteSize,
}

impl RawResume {
    /// Most streams that clients may come back to: none, where a stream does not wait for its client.
    pub(crate) fn sessions(&self) -> usize {
        if self.window.is_zero() { 0 } else { self.sessions }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid, and all that is wrong is said at once.
    #[test]
    fn defaults_and_problems() {
        let config = Config::try_from(RawConfig::default()).unwrap();
        assert_eq!(config.timeouts.stream, Duration::from_secs(840));
        let raw = RawConfig {
            logs_provider_name: String::new(),
            uaa: RawUaa {
                url: "http://uaa".to_owned(),
                ca: "ca.pem".into(),
                ..RawUaa::default()
            },
            limits: RawLimits {
                streams: 0,
                selectors: 100,
                selectors_per_caller: 99,
                header_bytes: ByteSize::kib(1),
                ..RawLimits::default()
            },
            timeouts: RawTimeouts {
                heartbeat: Duration::from_millis(1),
                ..RawTimeouts::default()
            },
            resume: RawResume {
                window: Duration::from_secs(3600),
                sessions_per_caller: 0,
                bytes: ByteSize::kib(1),
                ..RawResume::default()
            },
            ..RawConfig::default()
        };
        let problems = Config::try_from(raw).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "logs_provider_name",
                "limits.streams",
                "limits.selectors_per_caller",
                "limits.header_bytes",
                "timeouts.heartbeat",
                "resume.window",
                "resume.sessions_per_caller",
                "resume.bytes",
                "uaa.url"
            ]
        );
    }
}
