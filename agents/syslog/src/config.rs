//! The agent's configuration.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Duration, ListenAddr, PeerAddr, Problems, Secret, Setting};
use weir_drain::{AddressPolicy, DrainUrl};
use weir_flow::Capacity;
use weir_tls::{CipherSuites, IdentityFiles};

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    #[setting(default = "127.0.0.1:3460")]
    pub listen: ListenAddr,
    /// Where to say how the drains are doing: `GET /v1/drains` over mTLS.
    #[setting(default = "127.0.0.1:3461")]
    pub status_listen: ListenAddr,
    /// The agent's certificate, for producers and for the agent below; producers expect the name `metron`.
    pub identity: IdentityFiles,
    /// Where the last list of bindings and the backlog of drains that are away are kept.
    #[setting(
        default = "syslog-agent",
        allowed("a directory that the agent may write to", |directory| directory != Path::new(""))
    )]
    pub state_dir: PathBuf,
    /// Which of the agents this is: the `instance_id` of what it reports.
    #[setting(default = "0", allowed("printable ASCII", |name| name.bytes().all(|byte| byte.is_ascii_graphic())))]
    pub instance: String,
    /// Where developers are told about their drains, `host:port`: an agent whose envelopes reach their apps' logs. Without it
    /// nobody is told.
    pub agent: Option<PeerAddr>,
    /// Most drains of one app, in the order of their URLs; those beyond it are told to the developer.
    #[setting(default = 5, min = 1, max = 1000)]
    pub per_app_limit: usize,
    /// How long a drain's connection is kept while nothing is sent on it.
    #[setting(default = "600s", min = "1s", max = "1d")]
    pub idle_timeout: Duration,
    /// How long the backlog of a binding that was removed may take to be delivered; then it is counted as lost.
    #[setting(default = "60s", max = "1h")]
    pub removed_grace: Duration,
    /// How long a stopping agent waits for its backlog to be delivered; then the backlog goes to disk.
    #[setting(default = "3s", max = "60s")]
    pub drain: Duration,
    /// How often the connections of aggregate drains are made anew, so that their name is resolved again.
    #[setting(default = "60s", min = "1s", max = "1d")]
    pub aggregate_refresh: Duration,
    /// Drains of everything. If there are any, those of the binding cache are not used.
    pub aggregate_drains: Vec<RawAggregate>,
    /// The binding cache, which knows the drains of all apps.
    pub cache: RawCache,
    /// What all drains have in common.
    pub drains: RawDrains,
    /// What may wait in memory. Beyond half of it a drain's lines go to disk; if that cannot be written to, the oldest go.
    pub memory: RawMemory,
    /// What may wait on disk, while a drain is away or slow. At the limit the oldest go.
    pub spill: RawSpill,
}

/// A drain of everything as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields)]
pub struct RawAggregate {
    /// The drain's URL.
    pub url: Secret<String>,
    /// PEM file of CAs that its certificate may come from, beside the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate that is shown to it.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// The binding cache as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawCache {
    /// Its address, `host:port`; empty: there is none.
    pub address: Option<PeerAddr>,
    /// The name that its certificate must carry.
    #[setting(default = "binding-cache")]
    pub server_name: String,
    /// The certificate for the cache, if it is not that of the agent.
    pub identity: Option<IdentityFiles>,
    /// How often the cache is asked, where it does not answer by itself when something changes.
    #[setting(default = "15s", min = "100ms", max = "1h")]
    pub poll: Duration,
    /// How long the cache may keep a question until something changes.
    #[setting(default = "30s", max = "10m")]
    pub wait: Duration,
}

/// What all drains have in common as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawDrains {
    /// Whether messages carry the envelope's tags, where the drain's URL does not say.
    #[setting(default = true)]
    pub metadata: bool,
    /// Whether any certificate of a drain is taken. For test beds only.
    pub skip_cert_verify: bool,
    /// PEM file of CAs that drains' certificates may come from, beside the system's.
    pub trusted_ca: Option<PathBuf>,
    /// Addresses at which no drain may be, `start-end,…`, checked on the address that is dialled.
    pub blocked_addresses: AddressPolicy,
    /// Cipher suites towards drains outside of the platform, separated by colons; forces TLS 1.2.
    pub cipher_suites: Option<String>,
    /// How long resolving and connecting may take, and then the TLS handshake once more.
    #[setting(default = "10s", min = "100ms", max = "5m")]
    pub dial_timeout: Duration,
    /// How long a TCP or TLS drain may take nothing of what is written.
    #[setting(default = "10s", min = "100ms", max = "5m")]
    pub write_timeout: Duration,
    /// How long a POST may take from its first byte to the end of the answer.
    #[setting(default = "20s", min = "100ms", max = "5m")]
    pub http_timeout: Duration,
}

/// Bounds of what waits in memory as they are written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawMemory {
    /// Most envelopes of one drain.
    #[setting(default = 20_000, min = 1000)]
    pub envelopes: usize,
    /// Most bytes of one drain.
    #[setting(default = "16MiB", min = "1MiB")]
    pub bytes: ByteSize,
    /// Most bytes of all drains together, fairly shared.
    #[setting(default = "96MiB", min = self.bytes)]
    pub total: ByteSize,
}

/// Bounds of what waits on disk as they are written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawSpill {
    /// Most bytes of one drain.
    // The largest message that comes in is one record.
    #[setting(default = "256MiB", min = "16MiB")]
    pub bytes: ByteSize,
    /// Most bytes of all drains; at this limit the one that holds the most gives up.
    #[setting(default = "4GiB", min = self.bytes)]
    pub total: ByteSize,
    /// How long envelopes wait in memory before they go to disk, where they survive this process.
    #[setting(default = "1s", min = "10ms", max = "60s")]
    pub after: Duration,
}

/// A configuration whose values are in their ranges.
#[derive(Debug)]
pub struct Config {
    written: RawConfig,
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) cache: Option<Cache>,
    pub(crate) trusted_ca: Option<PathBuf>,
    pub(crate) cipher_suites: Option<CipherSuites>,
    pub(crate) terms: Terms,
}

/// What every drain of the agent is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Whether messages carry the envelope's tags, where the drain's URL does not say.
    pub(crate) metadata: bool,
    pub(crate) idle_timeout: time::Duration,
    pub(crate) removed_grace: time::Duration,
    /// How long what waits may take to leave when the agent stops.
    pub(crate) drain: time::Duration,
    /// How long the connection of an aggregate drain is used.
    pub(crate) aggregate_refresh: time::Duration,
    /// Bounds of the queue in memory.
    pub(crate) memory: Capacity,
    /// Most bytes on disk.
    pub(crate) spill: u64,
    /// What waits for so long goes to disk.
    pub(crate) spill_after: time::Duration,
}

/// A drain of everything that the operator set up. Its files are read again when they change.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) url: DrainUrl,
    pub(crate) ca: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) pair: Option<(PathBuf, PathBuf)>,
}

/// Where the bindings come from.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    pub(crate) address: PeerAddr,
    pub(crate) server_name: String,
    pub(crate) identity: IdentityFiles,
    pub(crate) poll: time::Duration,
    pub(crate) wait: time::Duration,
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
        let aggregates = aggregates(&raw.aggregate_drains, &mut problems);
        let list = raw.drains.cipher_suites.as_ref().filter(|list| !list.is_empty());
        let cipher_suites = list.and_then(|list| problems.accept("drains.cipher_suites", CipherSuites::parse(list)));
        let cache = raw.cache.address.clone().map(|address| Cache {
            address,
            server_name: raw.cache.server_name.clone(),
            identity: raw.cache.identity.clone().unwrap_or_else(|| raw.identity.clone()),
            poll: raw.cache.poll.get(),
            wait: raw.cache.wait.get(),
        });
        problems.into_result(Self {
            aggregates,
            cache,
            trusted_ca: given(&raw.drains.trusted_ca),
            cipher_suites,
            terms: Terms {
                metadata: raw.drains.metadata,
                idle_timeout: raw.idle_timeout.get(),
                removed_grace: raw.removed_grace.get(),
                drain: raw.drain.get(),
                aggregate_refresh: raw.aggregate_refresh.get(),
                memory: Capacity {
                    envelopes: raw.memory.envelopes,
                    bytes: raw.memory.bytes.as_usize(),
                },
                spill: raw.spill.bytes.bytes(),
                spill_after: raw.spill.after.get(),
            },
            written: raw,
        })
    }
}

/// The path, unless it is empty.
fn given(path: &Option<PathBuf>) -> Option<PathBuf> {
    path.clone().filter(|path| path != Path::new(""))
}

fn aggregates(raw: &[RawAggregate], problems: &mut Problems) -> Vec<Aggregate> {
    raw.iter()
        .enumerate()
        .filter_map(|(index, raw)| {
            let key = format!("aggregate_drains[{index}]");
            let url = problems.accept(&format!("{key}.url"), DrainUrl::parse(raw.url.expose()));
            let pair = match (given(&raw.cert), given(&raw.key)) {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                _ => {
                    problems.reject(&key, "needs both `cert` and `key`, or neither");
                    None
                }
            };
            Some(Aggregate {
                url: url?,
                ca: given(&raw.ca),
                pair,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(raw: RawConfig) -> Vec<String> {
        let problems = Config::try_from(raw).unwrap_err();
        problems.iter().map(|problem| problem.key.clone()).collect()
    }

    /// The defaults are valid, and all that is wrong is said at once.
    #[test]
    fn defaults_and_problems() {
        Config::try_from(RawConfig::default()).unwrap();
        let raw = RawConfig {
            state_dir: PathBuf::new(),
            per_app_limit: 0,
            idle_timeout: Duration::from_millis(1),
            memory: RawMemory {
                total: ByteSize::mib(1),
                ..RawMemory::default()
            },
            ..RawConfig::default()
        };
        assert_eq!(
            problems_of(raw),
            ["state_dir", "per_app_limit", "idle_timeout", "memory.total"]
        );
    }

    /// What is wrong with an aggregate drain is said without its secrets.
    #[test]
    fn aggregate_drains_are_checked() {
        let aggregate = |url: &str, cert: Option<&str>| RawAggregate {
            url: Secret::new(url.to_owned()),
            ca: None,
            cert: cert.map(PathBuf::from),
            key: None,
        };
        let raw = RawConfig {
            aggregate_drains: vec![
                aggregate("syslog-tls://user:hunter2@h:6067?token=hunter2", None),
                aggregate("ftp://user:hunter2@h:6067?token=hunter2", Some("cert.pem")),
            ],
            ..RawConfig::default()
        };
        let rendered = weir_config::render(&raw).unwrap();
        let problems = Config::try_from(raw).unwrap_err().to_string();
        assert!(problems.contains("aggregate_drains[1].url") && problems.contains("`cert` and `key`"));
        assert!(!problems.contains("hunter2") && !rendered.contains("hunter2"));
    }
}
