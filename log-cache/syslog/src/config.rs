//! The syslog server's configuration.

use std::ops::Deref;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Duration, ListenAddr, PeerAddr, Problems, Setting, Shape};
use weir_net::PortLimits;
use weir_tls::IdentityFiles;

/// How much is read ahead for TLS, which would ask for a few KiB at a time.
const READ_AHEAD: usize = 32 << 10;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to accept syslog over TLS.
    #[setting(default = "127.0.0.1:6067")]
    pub listen: ListenAddr,
    /// The server's certificate, with the name in the URL of the senders' drain; also shown to the log cache, unless
    /// `log_cache_identity` is set.
    pub identity: IdentityFiles,
    /// Whether senders must show a certificate. Without it, everything that can connect can write any app's log.
    #[setting(default = true)]
    pub client_certificates: bool,
    /// PEM file of the CA that senders' certificates must come from, if it is not that of `identity`.
    pub client_ca: Option<PathBuf>,
    /// The log cache, `host:port`; its certificate must have the name `log-cache`.
    #[setting(default = "127.0.0.1:8080")]
    pub log_cache: PeerAddr,
    /// The certificate for the log cache, if it is not that of `identity`.
    pub log_cache_identity: Option<IdentityFiles>,
    /// How messages are told apart: `octet-counting` (each begins with its length) or `newline` (each ends with one).
    #[setting(default = Framing::OctetCounting)]
    pub framing: Framing,
    /// Longest message, with its tags. A longer one is skipped and counted; the connection goes on.
    #[setting(default = "65KiB", min = "1KiB", max = "16MiB")]
    pub max_message: ByteSize,
    /// How long a sender may be silent; then it is cut off.
    #[setting(default = "120s", min = "1s")]
    pub idle_timeout: Duration,
    /// Most connections at a time. Beyond them, the longest idle connection of the address that holds the most is
    /// closed, or the new one if none is idle.
    #[setting(default = 4096, min = 1, max = 65_536)]
    pub max_connections: usize,
    /// Most connections of one IPv4 address or IPv6 /64; 0 means half of `max_connections`.
    #[setting(max = self.max_connections)]
    pub max_connections_per_address: usize,
    /// Most bytes that wait for the log cache. When it is full nothing is read from any sender until the log cache has
    /// taken some.
    #[setting(default = "2MiB", min = "256KiB", max = "1GiB")]
    pub buffer: ByteSize,
    /// How long a stopping server waits for its buffer to be delivered.
    #[setting(default = "5s", max = "60s")]
    pub drain: Duration,
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

impl Setting for Framing {
    fn shape() -> Shape {
        Shape::Value("`octet-counting` or `newline`")
    }
}

impl From<Framing> for weir_syslog::Framing {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::OctetCounting => Self::OctetCounted,
            Framing::Newline => Self::NonTransparent,
        }
    }
}

/// The batches as they are written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawBatch {
    /// Most envelopes.
    #[setting(default = 512, min = 1, max = 10_000)]
    pub envelopes: usize,
    /// How long the first envelope waits for others.
    #[setting(default = "50ms", max = "5s")]
    pub age: Duration,
}

/// A configuration whose values are in their ranges.
#[derive(Debug, Clone)]
pub struct Config {
    written: RawConfig,
    /// Certificate and key, and the CA of senders' certificates.
    pub(crate) identity: IdentityFiles,
    pub(crate) log_cache_identity: IdentityFiles,
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
        if raw.client_ca.is_some() && !raw.client_certificates {
            problems.reject("client_ca", "must not be set while `client_certificates` is false");
        }
        let identity = IdentityFiles {
            ca: raw.client_ca.clone().unwrap_or_else(|| raw.identity.ca.clone()),
            ..raw.identity.clone()
        };
        let port = PortLimits {
            per_address: match raw.max_connections_per_address {
                0 => raw.max_connections.div_ceil(2),
                most => most,
            },
            read_ahead: READ_AHEAD,
            gathers_writes: false,
            ..PortLimits::of(raw.max_connections)
        };
        problems.into_result(Self {
            log_cache_identity: raw.log_cache_identity.clone().unwrap_or_else(|| raw.identity.clone()),
            written: raw,
            identity,
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
        assert_eq!(config.max_message.bytes(), 66_560);
        let raw = RawConfig {
            client_certificates: false,
            client_ca: Some(PathBuf::from("ca.pem")),
            max_message: ByteSize::mib(17),
            idle_timeout: Duration::from_millis(1),
            max_connections: 0,
            buffer: ByteSize::kib(1),
            drain: Duration::from_secs(61),
            batch: RawBatch {
                envelopes: 0,
                age: Duration::from_secs(6),
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

    /// One identity serves both directions; each can have its own.
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
