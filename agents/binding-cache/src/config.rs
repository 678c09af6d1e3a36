//! The cache's configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;
use weir_config::{ByteSize, ListenAddr, PeerAddr, Problems};
use weir_drain::AddressPolicy;
use weir_tls::IdentityFiles;

use crate::feed::Endpoint;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS.
    pub listen: ListenAddr,
    /// CA, certificate and key; also shown to the agent.
    pub identity: IdentityFiles,
    /// Where warnings to apps go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<PeerAddr>,
    /// Whether apps are told that a drain of theirs is not usable.
    pub warn_on_invalid_drains: bool,
    /// Addresses at which no drain may be.
    pub blocked_ranges: AddressPolicy,
    /// Most connections at a time: each agent that waits for a change holds one.
    pub max_connections: usize,
    /// The file of the drains that were added by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_drains: Option<PathBuf>,
    /// The file of the drains that get everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate_drains: Option<PathBuf>,
    /// The cloud controller.
    pub api: RawApi,
}

/// How the cloud controller is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawApi {
    /// Its address, `https://host:port`; without one there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The name that its certificate must carry, if not the host of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// CA, certificate and key for it.
    pub identity: IdentityFiles,
    /// How often it is asked.
    pub interval: weir_config::Duration,
    /// Drains of one page.
    pub batch_size: u32,
    /// How long one request may take.
    pub timeout: weir_config::Duration,
    /// How long reading the whole list may take.
    pub deadline: weir_config::Duration,
    /// Largest list that is taken.
    pub max_size: ByteSize,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(9000),
            identity: IdentityFiles::default(),
            agent: None,
            warn_on_invalid_drains: true,
            blocked_ranges: AddressPolicy::open(),
            max_connections: 16_384,
            static_drains: None,
            aggregate_drains: None,
            api: RawApi::default(),
        }
    }
}

impl Default for RawApi {
    fn default() -> Self {
        Self {
            url: None,
            server_name: None,
            identity: IdentityFiles::default(),
            interval: weir_config::Duration::from_secs(15),
            batch_size: 1000,
            timeout: weir_config::Duration::from_secs(10),
            deadline: weir_config::Duration::from_secs(60),
            max_size: ByteSize::mib(256),
        }
    }
}

/// The validated configuration.
#[derive(Debug)]
pub struct Config {
    /// Where to serve HTTPS.
    pub listen: ListenAddr,
    /// CA, certificate and key; also shown to the agent.
    pub identity: IdentityFiles,
    /// Where warnings to apps go, if they are wanted.
    pub agent: Option<PeerAddr>,
    /// Addresses at which no drain may be.
    pub blocked_ranges: AddressPolicy,
    /// Most connections at a time.
    pub max_connections: usize,
    /// The file of the drains that were added by hand.
    pub static_drains: Option<PathBuf>,
    /// The file of the drains that get everything.
    pub aggregate_drains: Option<PathBuf>,
    /// The cloud controller, if there is one.
    pub api: Option<Api>,
}

/// How the cloud controller is asked.
#[derive(Debug)]
pub struct Api {
    pub(crate) endpoint: Endpoint,
    /// CA, certificate and key for it.
    pub identity: IdentityFiles,
    /// How often it is asked.
    pub interval: Duration,
    /// How long reading the whole list may take.
    pub deadline: Duration,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let connections = raw.max_connections;
        problems.require(
            (16..=1_000_000).contains(&connections),
            "max_connections",
            connections,
            "16 to 1000000",
        );
        let mut part = Problems::default();
        let api = raw.api.check(&mut part);
        problems.nest("api", part);
        problems.into_result_with(|| {
            Some(Self {
                listen: raw.listen,
                identity: raw.identity,
                agent: raw.agent.filter(|_| raw.warn_on_invalid_drains),
                blocked_ranges: raw.blocked_ranges,
                max_connections: connections,
                static_drains: raw.static_drains,
                aggregate_drains: raw.aggregate_drains,
                api,
            })
        })
    }
}

impl RawApi {
    fn check(self, problems: &mut Problems) -> Option<Api> {
        let second = Duration::from_secs(1);
        let (interval, timeout, deadline) = (self.interval.get(), self.timeout.get(), self.deadline.get());
        problems.require(
            (second / 10..=second * 86_400).contains(&interval),
            "interval",
            self.interval,
            "100ms to 24h",
        );
        problems.require(
            (10..=100_000).contains(&self.batch_size),
            "batch_size",
            self.batch_size,
            "10 to 100000",
        );
        problems.require(
            (second / 10..=second * 3600).contains(&timeout),
            "timeout",
            self.timeout,
            "100ms to 1h",
        );
        problems.require(deadline >= timeout, "deadline", self.deadline, "at least `timeout`");
        problems.require(
            self.max_size.bytes() >= 1 << 20,
            "max_size",
            self.max_size,
            "at least 1MiB",
        );
        let url = self.url.filter(|url| !url.is_empty())?;
        let parsed = Url::parse(&url).ok().filter(|url| {
            url.scheme() == "https" && url.host_str().is_some() && url.username().is_empty() && url.query().is_none()
        });
        problems.require(
            parsed.is_some(),
            "url",
            &url,
            "an address such as `https://cc.internal:9023`",
        );
        let parsed = parsed?;
        let host = parsed.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(Api {
            endpoint: Endpoint {
                port: parsed.port_or_known_default()?,
                server_name: self.server_name.unwrap_or_else(|| host.clone()),
                host,
                path: parsed.path().trim_end_matches('/').to_owned(),
                batch_size: u64::from(self.batch_size),
                timeout,
                max_bytes: self.max_size.as_usize(),
            },
            identity: self.identity,
            interval,
            deadline,
        })
    }
}

/// What each key means, for the example configuration and the reference.
pub const DOCS: &[(&str, &str)] = &[
    ("listen", "Where to serve HTTPS, to the syslog agents."),
    (
        "identity",
        "The cache's certificate, for syslog agents and for the agent that takes warnings.",
    ),
    (
        "identity.ca",
        "PEM file of the CA that the agents' certificates must come from.",
    ),
    (
        "identity.cert",
        "PEM file of the cache's certificate; agents expect the name that they are configured with.",
    ),
    ("identity.key", "PEM file of its key."),
    (
        "agent",
        "The agent that takes warnings to apps whose drains are not usable, `host:port`; without it nobody is warned.",
    ),
    (
        "warn_on_invalid_drains",
        "Whether apps are told that a drain of theirs is not usable.",
    ),
    (
        "blocked_ranges",
        "Addresses at which no drain may be: `10.0.0.0-10.255.255.255,fd00::-fdff::`, ends included. Checked again by the\n\
         syslog agent on the address that it dials.",
    ),
    (
        "max_connections",
        "Most connections at a time: each syslog agent that waits for a change holds one or two.",
    ),
    (
        "static_drains",
        "The file of the drains that were added by `weir drain add`; read again when it changes.",
    ),
    (
        "aggregate_drains",
        "The file of the drains that get everything: a YAML or JSON list of `url`, `cert`, `key`, `ca`; read again when it\n\
         changes.",
    ),
    ("api", "The cloud controller, whose feed lists the apps' drains."),
    (
        "api.url",
        "Its address, `https://cloud-controller-ng.service.cf.internal:9023`; without it there is none.",
    ),
    (
        "api.server_name",
        "The name that its certificate must carry, if that is not the host of the URL.",
    ),
    ("api.identity", "The cache's certificate for the cloud controller."),
    (
        "api.identity.ca",
        "PEM file of the CA that its certificate must come from.",
    ),
    ("api.identity.cert", "PEM file of the certificate to show."),
    ("api.identity.key", "PEM file of its key."),
    ("api.interval", "How often it is asked."),
    ("api.batch_size", "Drain URLs of one page."),
    (
        "api.timeout",
        "How long one request may take, from connecting to its last byte.",
    ),
    (
        "api.deadline",
        "How long reading the whole list may take, all its pages together.",
    ),
    ("api.max_size", "Largest list that is taken."),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid, every key has its text, and all that is wrong is said at once.
    #[test]
    fn defaults_documentation_and_problems() {
        assert!(Config::try_from(RawConfig::default()).unwrap().api.is_none());
        let example = weir_config::example::<RawConfig>(DOCS).unwrap();
        assert!(example.undocumented.is_empty(), "{:?}", example.undocumented);
        let raw = RawConfig {
            max_connections: 0,
            api: RawApi {
                url: Some("http://cc".to_owned()),
                interval: weir_config::Duration::from_millis(1),
                batch_size: 1,
                timeout: weir_config::Duration::from_secs(100),
                max_size: ByteSize::kib(1),
                ..RawApi::default()
            },
            ..RawConfig::default()
        };
        let problems = Config::try_from(raw).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "max_connections",
                "api.interval",
                "api.batch_size",
                "api.deadline",
                "api.max_size",
                "api.url"
            ]
        );
    }

    /// The certificate is expected to carry the URL's host, unless another name is given.
    #[test]
    fn the_cloud_controller_has_a_name() {
        let endpoint = |url: &str, name: Option<&str>| {
            let raw = RawConfig {
                api: RawApi {
                    url: Some(url.to_owned()),
                    server_name: name.map(str::to_owned),
                    ..RawApi::default()
                },
                ..RawConfig::default()
            };
            let api = Config::try_from(raw).unwrap().api.unwrap();
            let Endpoint {
                host,
                port,
                server_name,
                path,
                ..
            } = api.endpoint;
            (host, port, server_name, path)
        };
        let expected =
            |host: &str, port, name: &str, path: &str| (host.to_owned(), port, name.to_owned(), path.to_owned());
        assert_eq!(endpoint("https://cc:9023", None), expected("cc", 9023, "cc", ""));
        assert_eq!(
            endpoint("https://[::1]/base/", Some("cc")),
            expected("::1", 443, "cc", "/base")
        );
    }
}
