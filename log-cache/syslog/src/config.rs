//! The syslog server's configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, ListenAddr, PeerAddr, Problems};
use weir_net::PortLimits;
use weir_tls::IdentityFiles;

/// How much is read ahead for TLS, which would ask for a few KiB at a time.
const READ_AHEAD: usize = 32 << 10;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to accept syslog over TLS.
    pub listen: ListenAddr,
    /// CA, certificate and key; also shown to the log cache, unless that has an identity of its own.
    pub identity: IdentityFiles,
    /// Whether senders must show a certificate.
    pub client_certificates: bool,
    /// The CA of senders' certificates, where it is not that of `identity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// The log cache, `host:port`.
    pub log_cache: PeerAddr,
    /// CA, certificate and key for the log cache, where they are not those of `identity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_cache_identity: Option<IdentityFiles>,
    /// How messages are told apart.
    pub framing: Framing,
    /// Longest message.
    pub max_message: ByteSize,
    /// A sender that sends nothing for so long is cut off.
    pub idle_timeout: weir_config::Duration,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most connections of one address; 0: half of `max_connections`.
    pub max_connections_per_address: usize,
    /// Most bytes that wait for the log cache.
    pub buffer: ByteSize,
    /// How long they may take to leave when the server stops.
    pub drain: weir_config::Duration,
    /// How envelopes are gathered for the log cache.
    pub batch: RawBatch,
}

/// How messages of a stream are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Each begins with its length.
    OctetCounting,
    /// Each ends with a newline.
    Newline,
}

/// The batches as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawBatch {
    /// Most envelopes.
    pub envelopes: usize,
    /// How long the first one waits for others.
    pub age: weir_config::Duration,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(6067),
            identity: IdentityFiles::default(),
            client_certificates: true,
            client_ca: None,
            log_cache: ListenAddr::loopback(8080).socket().into(),
            log_cache_identity: None,
            framing: Framing::OctetCounting,
            max_message: ByteSize::kib(65),
            idle_timeout: weir_config::Duration::from_secs(120),
            max_connections: 4096,
            max_connections_per_address: 0,
            buffer: ByteSize::mib(2),
            drain: weir_config::Duration::from_secs(5),
            batch: RawBatch::default(),
        }
    }
}

impl Default for RawBatch {
    fn default() -> Self {
        Self {
            envelopes: 512,
            age: weir_config::Duration::from_millis(50),
        }
    }
}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to accept syslog over TLS.
    pub listen: ListenAddr,
    /// Certificate and key, and the CA of senders' certificates.
    pub identity: IdentityFiles,
    /// Whether senders must show a certificate.
    pub client_certificates: bool,
    /// The log cache, `host:port`.
    pub log_cache: PeerAddr,
    /// CA, certificate and key for the log cache.
    pub log_cache_identity: IdentityFiles,
    pub(crate) framing: weir_syslog::Framing,
    pub(crate) max_message: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) port: PortLimits,
    pub(crate) buffer: usize,
    pub(crate) drain: Duration,
    pub(crate) batch: Batching,
}

/// The validated batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batching {
    pub(crate) envelopes: usize,
    pub(crate) age: Duration,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let max_message = raw.max_message;
        problems.require(
            (1 << 10..=16 << 20).contains(&max_message.bytes()),
            "max_message",
            max_message,
            "1KiB to 16MiB",
        );
        problems.require(
            raw.idle_timeout.get() >= Duration::from_secs(1),
            "idle_timeout",
            raw.idle_timeout,
            "at least 1s",
        );
        let connections = raw.max_connections;
        problems.require(
            (1..=65_536).contains(&connections),
            "max_connections",
            connections,
            "1 to 65536",
        );
        let per_address = raw.max_connections_per_address;
        problems.require(
            per_address <= connections,
            "max_connections_per_address",
            per_address,
            "0 (half of `max_connections`) to `max_connections`",
        );
        problems.require(
            (256 << 10..=1 << 30).contains(&raw.buffer.bytes()),
            "buffer",
            raw.buffer,
            "256KiB to 1GiB",
        );
        problems.require(
            raw.drain.get() <= Duration::from_secs(60),
            "drain",
            raw.drain,
            "at most 60s",
        );
        let RawBatch { envelopes, age } = raw.batch;
        problems.require(
            (1..=10_000).contains(&envelopes),
            "batch.envelopes",
            envelopes,
            "1 to 10000",
        );
        problems.require(age.get() <= Duration::from_secs(5), "batch.age", age, "at most 5s");
        if raw.client_ca.is_some() && !raw.client_certificates {
            problems.reject("client_ca", "must not be set while `client_certificates` is false");
        }
        let log_cache_identity = raw.log_cache_identity.unwrap_or_else(|| raw.identity.clone());
        let identity = IdentityFiles {
            ca: raw.client_ca.unwrap_or(raw.identity.ca),
            ..raw.identity
        };
        problems.into_result(Self {
            listen: raw.listen,
            identity,
            client_certificates: raw.client_certificates,
            log_cache: raw.log_cache,
            log_cache_identity,
            framing: match raw.framing {
                Framing::OctetCounting => weir_syslog::Framing::OctetCounted,
                Framing::Newline => weir_syslog::Framing::NonTransparent,
            },
            max_message: max_message.as_usize(),
            idle_timeout: raw.idle_timeout.get(),
            port: PortLimits {
                per_address: match per_address {
                    0 => connections.div_ceil(2),
                    most => most,
                },
                read_ahead: READ_AHEAD,
                gathers_writes: false,
                ..PortLimits::of(connections)
            },
            buffer: raw.buffer.as_usize(),
            drain: raw.drain.get(),
            batch: Batching {
                envelopes,
                age: age.get(),
            },
        })
    }
}

/// What each key means, for the example configuration and the reference.
pub const DOCS: &[(&str, &str)] = &[
    ("listen", "Where to accept syslog over TLS."),
    (
        "identity",
        "The server's certificate; also shown to the log cache, unless `log_cache_identity` is set.",
    ),
    (
        "identity.ca",
        "PEM file of the CA that senders' certificates and the log cache's must come from.",
    ),
    (
        "identity.cert",
        "PEM file of the server's certificate, with the name in the url of the senders' drain.",
    ),
    ("identity.key", "PEM file of its key."),
    (
        "client_certificates",
        "Whether senders must show a certificate. Without, whoever can connect can write any app's log.",
    ),
    (
        "client_ca",
        "PEM file of the CA that senders' certificates must come from, if it is not that of `identity`.",
    ),
    (
        "log_cache",
        "The log cache, `host:port`; its certificate must have the name `log-cache`.",
    ),
    (
        "log_cache_identity",
        "CA, certificate and key (`ca`, `cert`, `key`) for the log cache, if they are not those of `identity`.",
    ),
    (
        "framing",
        "How messages are told apart: `octet-counting` (each begins with its length) or `newline` (each ends with one).",
    ),
    (
        "max_message",
        "Longest message, with its tags. A longer one is skipped and counted; the connection goes on.",
    ),
    ("idle_timeout", "A sender that sends nothing for so long is cut off."),
    (
        "max_connections",
        "Most connections at a time; beyond them the longest silent one of the address that holds most is closed, or the new \
         one.",
    ),
    (
        "max_connections_per_address",
        "Most connections of one IPv4 address or IPv6 /64; 0: half of `max_connections`.",
    ),
    (
        "buffer",
        "Most bytes that wait for the log cache. When it is full nothing is read from any sender until the log cache has \
         taken some.",
    ),
    ("drain", "How long they may take to leave when the server stops."),
    ("batch", "How envelopes are gathered for the log cache."),
    ("batch.envelopes", "Most envelopes."),
    ("batch.age", "How long the first one waits for others."),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid, every key has its text, and all that is wrong is said at once.
    #[test]
    fn defaults_documentation_and_problems() {
        let config = Config::try_from(RawConfig::default()).unwrap();
        assert_eq!(config.max_message, 66_560);
        let example = weir_config::example::<RawConfig>(DOCS).unwrap();
        assert!(example.undocumented.is_empty(), "{:?}", example.undocumented);
        let raw = RawConfig {
            client_certificates: false,
            client_ca: Some(PathBuf::from("ca.pem")),
            max_message: ByteSize::mib(17),
            idle_timeout: weir_config::Duration::from_millis(1),
            max_connections: 0,
            buffer: ByteSize::kib(1),
            drain: weir_config::Duration::from_secs(61),
            batch: RawBatch {
                envelopes: 0,
                age: weir_config::Duration::from_secs(6),
            },
            ..RawConfig::default()
        };
        let problems = Config::try_from(raw).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "max_message",
                "idle_timeout",
                "max_connections",
                "buffer",
                "drain",
                "batch.envelopes",
                "batch.age",
                "client_ca"
            ]
        );
    }

    /// One identity serves both faces; each can have its own.
    #[test]
    fn identities_have_fallbacks() {
        let identity = |name: &str| IdentityFiles {
            ca: format!("{name}-ca").into(),
            cert: format!("{name}-cert").into(),
            key: format!("{name}-key").into(),
        };
        let raw = RawConfig {
            identity: identity("server"),
            ..RawConfig::default()
        };
        let config = Config::try_from(raw.clone()).unwrap();
        assert_eq!(config.identity, identity("server"));
        assert_eq!(config.log_cache_identity, identity("server"));
        let raw = RawConfig {
            client_ca: Some("senders-ca".into()),
            log_cache_identity: Some(identity("client")),
            ..raw
        };
        let config = Config::try_from(raw).unwrap();
        assert_eq!(config.identity.ca, PathBuf::from("senders-ca"));
        assert_eq!(config.identity.cert, identity("server").cert);
        assert_eq!(config.log_cache_identity, identity("client"));
    }
}
