//! The RLP gateway's configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_auth::{RawUaa, UAA_DOCS, UaaConfig};
use weir_config::{ByteSize, ListenAddr, PeerAddr, Problems};
use weir_net::{PORT_LIMITS_DOCS, PortLimits, RawPortLimits, port_limits};
use weir_tls::IdentityFiles;

use crate::backlog::PIECE;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS.
    pub listen: ListenAddr,
    /// PEM file of the certificate shown to clients.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// The RLP, `host:port`.
    pub logs_provider: PeerAddr,
    /// The name that the RLP's certificate must carry.
    pub logs_provider_name: String,
    /// CA, certificate and key for the RLP.
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
    pub streams: usize,
    /// Most streams of one user or client.
    pub streams_per_caller: usize,
    /// Most selectors of one stream.
    pub selectors: usize,
    /// Most selectors of all streams of one user or client.
    pub selectors_per_caller: usize,
    /// Most bytes of a request's head.
    pub header_bytes: ByteSize,
}

/// Times as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTimeouts {
    /// For the TLS handshake.
    pub handshake: weir_config::Duration,
    /// For a request's head, and between requests.
    pub header: weir_config::Duration,
    /// Of silence, after which a heartbeat is sent.
    pub heartbeat: weir_config::Duration,
    /// Of a stream.
    pub stream: weir_config::Duration,
    /// For an event; then the client counts as slow.
    pub slow_consumer: weir_config::Duration,
    /// That the RLP may be away.
    pub provider: weir_config::Duration,
}

/// Resumption as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawResume {
    /// How long a stream waits for its client.
    pub window: weir_config::Duration,
    /// Most streams that clients may come back to.
    pub sessions: usize,
    /// Most of them of one user or client.
    pub sessions_per_caller: usize,
    /// Bytes of envelopes that each of them keeps.
    pub bytes: ByteSize,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(8088),
            cert: PathBuf::new(),
            key: PathBuf::new(),
            logs_provider: ListenAddr::loopback(8083).socket().into(),
            logs_provider_name: "reverselogproxy".to_owned(),
            identity: IdentityFiles::default(),
            token_file: PathBuf::new(),
            uaa: RawUaa::default(),
            limits: RawLimits::default(),
            timeouts: RawTimeouts::default(),
            resume: RawResume::default(),
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        let RawPortLimits {
            connections,
            connections_per_address,
            connections_reserved,
        } = RawPortLimits::default();
        Self {
            connections,
            connections_per_address,
            connections_reserved,
            streams: 1000,
            streams_per_caller: 500,
            selectors: 4096,
            selectors_per_caller: 16_384,
            header_bytes: ByteSize::kib(64),
        }
    }
}

impl Default for RawTimeouts {
    fn default() -> Self {
        let seconds = weir_config::Duration::from_secs;
        Self {
            handshake: seconds(10),
            header: seconds(10),
            heartbeat: seconds(15),
            stream: seconds(14 * 60),
            slow_consumer: seconds(60),
            provider: seconds(10),
        }
    }
}

impl Default for RawResume {
    fn default() -> Self {
        Self {
            window: weir_config::Duration::from_secs(60),
            sessions: 100,
            sessions_per_caller: 20,
            bytes: ByteSize::mib(1),
        }
    }
}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to serve HTTPS.
    pub listen: ListenAddr,
    /// PEM file of the certificate shown to clients.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// The RLP, `host:port`.
    pub logs_provider: PeerAddr,
    /// The name that the RLP's certificate must carry.
    pub logs_provider_name: String,
    /// CA, certificate and key for the RLP.
    pub identity: IdentityFiles,
    /// File with the operator's token; empty if there is none.
    pub token_file: PathBuf,
    /// The UAA whose tokens are taken.
    pub uaa: Option<UaaConfig>,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    pub(crate) resume: Resume,
}

/// Bounds of what clients may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) port: PortLimits,
    pub(crate) streams: usize,
    pub(crate) streams_per_caller: usize,
    pub(crate) selectors: usize,
    pub(crate) selectors_per_caller: usize,
    pub(crate) header_bytes: usize,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) header: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) stream: Duration,
    pub(crate) slow_consumer: Duration,
    pub(crate) provider: Duration,
}

/// Streams that clients come back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resume {
    pub(crate) window: Duration,
    pub(crate) sessions: usize,
    pub(crate) sessions_per_caller: usize,
    pub(crate) bytes: usize,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut of_uaa = Problems::default();
        let uaa = raw.uaa.validate(&mut of_uaa);
        problems.nest("uaa", of_uaa);
        let name = &raw.logs_provider_name;
        problems.require(
            !name.is_empty(),
            "logs_provider_name",
            name,
            "the name in the RLP's certificate",
        );
        let limits = &raw.limits;
        let port = RawPortLimits {
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            connections_reserved: limits.connections_reserved,
        };
        let port = port_limits(&port, &mut problems);
        for (key, count) in [
            ("limits.streams", limits.streams),
            ("limits.streams_per_caller", limits.streams_per_caller),
            ("limits.selectors", limits.selectors),
        ] {
            problems.require((1..=100_000).contains(&count), key, count, "1 to 100000");
        }
        let of_one = limits.selectors_per_caller;
        problems.require(
            (limits.selectors..=1_000_000).contains(&of_one),
            "limits.selectors_per_caller",
            of_one,
            "`limits.selectors` to 1000000",
        );
        // hyper's smallest buffer is 8 KiB.
        let header = limits.header_bytes.bytes();
        let fits = (8 << 10..=1 << 20).contains(&header);
        problems.require(fits, "limits.header_bytes", limits.header_bytes, "8KiB to 1MiB");
        let times = &raw.timeouts;
        for (key, time) in [
            ("timeouts.handshake", times.handshake),
            ("timeouts.header", times.header),
            ("timeouts.heartbeat", times.heartbeat),
            ("timeouts.stream", times.stream),
            ("timeouts.slow_consumer", times.slow_consumer),
            ("timeouts.provider", times.provider),
        ] {
            let sensible = (Duration::from_millis(10)..=Duration::from_secs(24 * 3600)).contains(&time.get());
            problems.require(sensible, key, time, "10ms to 24h");
        }
        let resume = &raw.resume;
        let window = resume.window.get();
        problems.require(
            window <= Duration::from_secs(600),
            "resume.window",
            resume.window,
            "at most 10m",
        );
        problems.require(
            resume.sessions <= 10_000,
            "resume.sessions",
            resume.sessions,
            "at most 10000",
        );
        problems.require(
            (1..=10_000).contains(&resume.sessions_per_caller),
            "resume.sessions_per_caller",
            resume.sessions_per_caller,
            "1 to 10000",
        );
        let bytes = resume.bytes.as_usize();
        problems.require(
            (PIECE..=1 << 30).contains(&bytes),
            "resume.bytes",
            resume.bytes,
            format!("{}KiB to 1GiB", PIECE >> 10),
        );
        problems.into_result(Self {
            listen: raw.listen,
            cert: raw.cert,
            key: raw.key,
            logs_provider: raw.logs_provider,
            logs_provider_name: raw.logs_provider_name,
            identity: raw.identity,
            token_file: raw.token_file,
            uaa,
            limits: Limits {
                port: PortLimits {
                    handshake: raw.timeouts.handshake.get(),
                    ..port
                },
                streams: raw.limits.streams,
                streams_per_caller: raw.limits.streams_per_caller,
                selectors: raw.limits.selectors,
                selectors_per_caller: raw.limits.selectors_per_caller,
                header_bytes: raw.limits.header_bytes.as_usize(),
            },
            times: Times {
                header: raw.timeouts.header.get(),
                heartbeat: raw.timeouts.heartbeat.get(),
                stream: raw.timeouts.stream.get(),
                slow_consumer: raw.timeouts.slow_consumer.get(),
                provider: raw.timeouts.provider.get(),
            },
            resume: Resume {
                window,
                sessions: if window.is_zero() { 0 } else { raw.resume.sessions },
                sessions_per_caller: raw.resume.sessions_per_caller,
                bytes,
            },
        })
    }
}

/// What each key means, for the example configuration and the reference.
pub const DOCS: &[(&str, &str)] = &[
    ("listen", "Where to serve HTTPS."),
    ("cert", "PEM file of the certificate shown to clients."),
    ("key", "PEM file of its key."),
    ("logs_provider", "The RLP, `host:port`."),
    ("logs_provider_name", "The name that the RLP's certificate must carry."),
    ("identity", "The gateway's certificate for the RLP."),
    (
        "identity.ca",
        "PEM file of the CA that the RLP's certificate must come from.",
    ),
    ("identity.cert", "PEM file of the certificate shown to the RLP."),
    ("identity.key", "PEM file of its key."),
    (
        "token_file",
        "File with the operator's token, which reads everything; empty: there is none.",
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
    ("limits", "Bounds of what clients may use."),
    PORT_LIMITS_DOCS[0],
    PORT_LIMITS_DOCS[1],
    PORT_LIMITS_DOCS[2],
    ("limits.streams", "Most streams; further ones are answered with 503."),
    (
        "limits.streams_per_caller",
        "Most streams of one user or client; further ones are answered with 429.",
    ),
    (
        "limits.selectors",
        "Most selectors of one stream: sources times kinds and names.",
    ),
    (
        "limits.selectors_per_caller",
        "Most selectors of all streams of one user or client; a stream beyond them is answered with 429.",
    ),
    ("limits.header_bytes", "Most bytes of a request's head."),
    ("timeouts", "How long things may take."),
    ("timeouts.handshake", "For the TLS handshake."),
    ("timeouts.header", "For a request's head, and between requests."),
    ("timeouts.heartbeat", "Of silence, after which a heartbeat is sent."),
    (
        "timeouts.stream",
        "Of a stream; then it is closed, and clients come again.",
    ),
    (
        "timeouts.slow_consumer",
        "For an event; then the client is disconnected as a slow consumer.",
    ),
    (
        "timeouts.provider",
        "That the RLP may be away; then streams end with an event that says so.",
    ),
    ("resume", "Streams that clients come back to."),
    (
        "resume.window",
        "How long a stream waits for its client; 0s: not at all.",
    ),
    (
        "resume.sessions",
        "Most streams that clients may come back to; others get events without ids.",
    ),
    (
        "resume.sessions_per_caller",
        "Most of them of one user or client; its others get events without ids.",
    ),
    ("resume.bytes", "Bytes of envelopes that each of them keeps."),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid, every key has its text, and all that is wrong is said at once.
    #[test]
    fn defaults_documentation_and_problems() {
        let config = Config::try_from(RawConfig::default()).unwrap();
        assert_eq!(config.times.stream, Duration::from_secs(840));
        let example = weir_config::example::<RawConfig>(DOCS).unwrap();
        assert!(example.undocumented.is_empty(), "{:?}", example.undocumented);
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
                heartbeat: weir_config::Duration::from_millis(1),
                ..RawTimeouts::default()
            },
            resume: RawResume {
                window: weir_config::Duration::from_secs(3600),
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
                "uaa.url",
                "logs_provider_name",
                "limits.streams",
                "limits.selectors_per_caller",
                "limits.header_bytes",
                "timeouts.heartbeat",
                "resume.window",
                "resume.sessions_per_caller",
                "resume.bytes"
            ]
        );
    }
}
