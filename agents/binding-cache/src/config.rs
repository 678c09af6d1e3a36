//! The cache's configuration.

use std::ops::Deref;
use std::path::PathBuf;
use std::time;

use serde::{Deserialize, Serialize};
use url::Url;
use weir_config::{ByteSize, Duration, ListenAddr, PeerAddr, Problems, Setting};
use weir_drain::AddressPolicy;
use weir_tls::IdentityFiles;

use crate::feed::Endpoint;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS, to the syslog agents.
    #[setting(default = "127.0.0.1:9000")]
    pub listen: ListenAddr,
    /// The cache's certificate, for syslog agents and for the agent that takes warnings.
    pub identity: IdentityFiles,
    /// The agent that takes warnings to apps whose drains are not usable, `host:port`; without it nobody is warned.
    pub agent: Option<PeerAddr>,
    /// Whether apps are told that a drain of theirs is not usable.
    #[setting(default = true)]
    pub warn_on_invalid_drains: bool,
    /// Addresses at which no drain may be: `10.0.0.0-10.255.255.255,fd00::-fdff::`, ends included. The syslog agent checks the
    /// address that it dials once more.
    pub blocked_ranges: AddressPolicy,
    /// Most connections at a time: each syslog agent that waits for a change holds one or two.
    #[setting(default = 16_384, min = 16, max = 1_000_000)]
    pub max_connections: usize,
    /// The file of the drains that were added by `weir drain add`; read again when it changes.
    pub static_drains: Option<PathBuf>,
    /// The file of the drains that get everything: a YAML or JSON list of `url`, `cert`, `key`, `ca`; read again when it
    /// changes.
    pub aggregate_drains: Option<PathBuf>,
    /// The cloud controller, whose feed lists the apps' drains.
    pub api: RawApi,
}

/// How the cloud controller is asked.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawApi {
    /// Its address, `https://cloud-controller-ng.service.cf.internal:9023`; without it there is none.
    pub url: Option<String>,
    /// The name that its certificate must carry, if that is not the host of the URL.
    pub server_name: Option<String>,
    /// The cache's certificate for the cloud controller.
    pub identity: IdentityFiles,
    /// How often it is asked.
    #[setting(default = "15s", min = "100ms", max = "24h")]
    pub interval: Duration,
    /// Drain URLs of one page.
    #[setting(default = 1000, min = 10, max = 100_000)]
    pub batch_size: u32,
    /// How long one request may take, from connecting to its last byte.
    #[setting(default = "10s", min = "100ms", max = "1h")]
    pub timeout: Duration,
    /// How long reading the whole list may take, all its pages together.
    #[setting(default = "60s", min = self.timeout)]
    pub deadline: Duration,
    /// Largest list that is taken.
    #[setting(default = "256MiB", min = "1MiB")]
    pub max_size: ByteSize,
}

/// A configuration whose values are in their ranges.
#[derive(Debug)]
pub struct Config {
    written: RawConfig,
    /// The agent that takes warnings, if they are wanted.
    pub(crate) agent: Option<PeerAddr>,
    /// The cloud controller, if there is one.
    pub(crate) api: Option<Api>,
}

/// How the cloud controller is asked.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) endpoint: Endpoint,
    pub(crate) identity: IdentityFiles,
    pub(crate) interval: time::Duration,
    pub(crate) deadline: time::Duration,
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
        let mut part = Problems::default();
        let api = raw.api.clone().resolve(&mut part);
        problems.nest("api", part);
        problems.into_result(Self {
            agent: raw.agent.clone().filter(|_| raw.warn_on_invalid_drains),
            written: raw,
            api,
        })
    }
}

impl RawApi {
    fn resolve(self, problems: &mut Problems) -> Option<Api> {
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
                timeout: self.timeout.get(),
                max_bytes: self.max_size.as_usize(),
            },
            identity: self.identity,
            interval: self.interval.get(),
            deadline: self.deadline.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid, and all that is wrong is said at once.
    #[test]
    fn defaults_and_problems() {
        assert!(Config::try_from(RawConfig::default()).unwrap().api.is_none());
        let raw = RawConfig {
            max_connections: 0,
            api: RawApi {
                url: Some("http://cc".to_owned()),
                interval: Duration::from_millis(1),
                batch_size: 1,
                timeout: Duration::from_secs(100),
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
