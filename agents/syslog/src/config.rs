//! The agent's configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, ListenAddr, PeerAddr, Problems, Secret};
use weir_drain::{AddressPolicy, DrainUrl};
use weir_flow::Capacity;
use weir_tls::{CipherSuites, IdentityFiles};

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    pub listen: ListenAddr,
    /// Where to tell how the drains are doing.
    pub status_listen: ListenAddr,
    /// CA, certificate and key.
    pub identity: IdentityFiles,
    /// Where the list of bindings and the backlog are kept.
    pub state_dir: PathBuf,
    /// Which of the agents this is: the `instance_id` of its reports.
    pub instance: String,
    /// Where developers are told about their drains; empty: nowhere.
    pub agent: Option<PeerAddr>,
    /// Most drains of one app.
    pub per_app_limit: usize,
    /// A drain's connection is dropped when nothing was sent for so long.
    pub idle_timeout: weir_config::Duration,
    /// How long what waits for a binding that was removed may take to leave.
    pub removed_grace: weir_config::Duration,
    /// How long what waits may take to leave when the agent stops, before it goes to the backlog.
    pub drain: weir_config::Duration,
    /// Connections of aggregate drains are made anew so often.
    pub aggregate_refresh: weir_config::Duration,
    /// Drains of everything; if there are any, the cache's are not asked for.
    pub aggregate_drains: Vec<RawAggregate>,
    /// Where the bindings come from.
    pub cache: RawCache,
    /// What all drains have in common.
    pub drains: RawDrains,
    /// What may wait in memory.
    pub memory: RawMemory,
    /// What may wait on disk.
    pub spill: RawSpill,
}

/// A drain of everything as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCache {
    /// Its address; empty: there is none.
    pub address: Option<PeerAddr>,
    /// The name that its certificate must carry.
    pub server_name: String,
    /// CA, certificate and key towards it; empty: the agent's own.
    pub identity: Option<IdentityFiles>,
    /// How often it is asked, if it does not answer by itself when something changes.
    pub poll: weir_config::Duration,
    /// How long it may keep a question until something changes.
    pub wait: weir_config::Duration,
}

/// What all drains have in common as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDrains {
    /// Whether messages carry the envelope's tags, where the drain's URL does not say.
    pub metadata: bool,
    /// Whether any certificate of a drain is taken.
    pub skip_cert_verify: bool,
    /// PEM file of CAs that drains' certificates may come from, beside the system's.
    pub trusted_ca: Option<PathBuf>,
    /// Addresses at which no drain may be, `start-end,…`.
    pub blocked_addresses: AddressPolicy,
    /// Cipher suites towards drains outside of the platform, separated by colons; forces TLS 1.2.
    pub cipher_suites: Option<String>,
    /// How long resolving and connecting may take.
    pub dial_timeout: weir_config::Duration,
    /// How long a drain may take nothing of what is written.
    pub write_timeout: weir_config::Duration,
    /// How long a POST may take.
    pub http_timeout: weir_config::Duration,
}

/// Bounds of what waits in memory as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMemory {
    /// Most envelopes of one drain.
    pub envelopes: usize,
    /// Most bytes of one drain.
    pub bytes: ByteSize,
    /// Most bytes of all drains.
    pub total: ByteSize,
}

/// Bounds of what waits on disk as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSpill {
    /// Most bytes of one drain.
    pub bytes: ByteSize,
    /// Most bytes of all drains.
    pub total: ByteSize,
    /// What waits for so long goes to disk.
    pub after: weir_config::Duration,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(3460),
            status_listen: ListenAddr::loopback(3461),
            identity: IdentityFiles::default(),
            state_dir: PathBuf::from("syslog-agent"),
            instance: "0".to_owned(),
            agent: None,
            per_app_limit: 5,
            idle_timeout: weir_config::Duration::from_secs(600),
            removed_grace: weir_config::Duration::from_secs(60),
            drain: weir_config::Duration::from_secs(3),
            aggregate_refresh: weir_config::Duration::from_secs(60),
            aggregate_drains: Vec::new(),
            cache: RawCache::default(),
            drains: RawDrains::default(),
            memory: RawMemory::default(),
            spill: RawSpill::default(),
        }
    }
}

impl Default for RawCache {
    fn default() -> Self {
        Self {
            address: None,
            server_name: "binding-cache".to_owned(),
            identity: None,
            poll: weir_config::Duration::from_secs(15),
            wait: weir_config::Duration::from_secs(30),
        }
    }
}

impl Default for RawDrains {
    fn default() -> Self {
        Self {
            metadata: true,
            skip_cert_verify: false,
            trusted_ca: None,
            blocked_addresses: AddressPolicy::open(),
            cipher_suites: None,
            dial_timeout: weir_config::Duration::from_secs(10),
            write_timeout: weir_config::Duration::from_secs(10),
            http_timeout: weir_config::Duration::from_secs(20),
        }
    }
}

impl Default for RawMemory {
    fn default() -> Self {
        Self {
            envelopes: 20_000,
            bytes: ByteSize::mib(16),
            total: ByteSize::mib(96),
        }
    }
}

impl Default for RawSpill {
    fn default() -> Self {
        Self {
            bytes: ByteSize::mib(256),
            total: ByteSize::gib(4),
            after: weir_config::Duration::from_secs(1),
        }
    }
}

/// The validated configuration.
#[derive(Debug)]
pub struct Config {
    pub(crate) listen: ListenAddr,
    pub(crate) status_listen: ListenAddr,
    pub(crate) identity: IdentityFiles,
    pub(crate) state_dir: PathBuf,
    pub(crate) instance: String,
    pub(crate) agent: Option<PeerAddr>,
    pub(crate) per_app_limit: usize,
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) cache: Option<Cache>,
    pub(crate) skip_cert_verify: bool,
    pub(crate) trusted_ca: Option<PathBuf>,
    pub(crate) addresses: AddressPolicy,
    pub(crate) cipher_suites: Option<CipherSuites>,
    pub(crate) dial_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) http_timeout: Duration,
    pub(crate) memory_total: usize,
    pub(crate) spill_total: u64,
    pub(crate) terms: Terms,
}

/// What every drain of the agent is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Whether messages carry the envelope's tags, where the drain's URL does not say.
    pub(crate) metadata: bool,
    pub(crate) idle_timeout: Duration,
    pub(crate) removed_grace: Duration,
    /// How long what waits may take to leave when the agent stops.
    pub(crate) drain: Duration,
    /// How long the connection of an aggregate drain is used.
    pub(crate) aggregate_refresh: Duration,
    /// Bounds of the queue in memory.
    pub(crate) memory: Capacity,
    /// Most bytes on disk.
    pub(crate) spill: u64,
    /// What waits for so long goes to disk.
    pub(crate) spill_after: Duration,
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
    pub(crate) poll: Duration,
    pub(crate) wait: Duration,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        check_bounds(&raw, &mut problems);
        check_times(&raw, &mut problems);
        problems.require(
            raw.state_dir != Path::new(""),
            "state_dir",
            "",
            "a directory that the agent may write to",
        );
        problems.require(
            raw.instance.bytes().all(|byte| byte.is_ascii_graphic()),
            "instance",
            &raw.instance,
            "printable ASCII",
        );
        let aggregates = aggregates(&raw.aggregate_drains, &mut problems);
        let cipher_suites = raw
            .drains
            .cipher_suites
            .as_ref()
            .filter(|list| !list.is_empty())
            .and_then(|list| {
                let suites = CipherSuites::parse(list);
                problems.accept("drains.cipher_suites", suites)
            });
        let cache = raw.cache.address.map(|address| Cache {
            address,
            server_name: raw.cache.server_name,
            identity: raw.cache.identity.unwrap_or_else(|| raw.identity.clone()),
            poll: raw.cache.poll.get(),
            wait: raw.cache.wait.get(),
        });
        problems.into_result(Self {
            listen: raw.listen,
            status_listen: raw.status_listen,
            identity: raw.identity,
            state_dir: raw.state_dir,
            instance: raw.instance,
            agent: raw.agent,
            per_app_limit: raw.per_app_limit,
            aggregates,
            cache,
            skip_cert_verify: raw.drains.skip_cert_verify,
            trusted_ca: raw.drains.trusted_ca.filter(|path| path != Path::new("")),
            addresses: raw.drains.blocked_addresses,
            cipher_suites,
            dial_timeout: raw.drains.dial_timeout.get(),
            write_timeout: raw.drains.write_timeout.get(),
            http_timeout: raw.drains.http_timeout.get(),
            memory_total: raw.memory.total.as_usize(),
            spill_total: raw.spill.total.bytes(),
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
        })
    }
}

fn check_bounds(raw: &RawConfig, problems: &mut Problems) {
    let (memory, spill) = (&raw.memory, &raw.spill);
    problems.require(
        (1..=1000).contains(&raw.per_app_limit),
        "per_app_limit",
        raw.per_app_limit,
        "1 to 1000",
    );
    problems.require(
        memory.envelopes >= 1000,
        "memory.envelopes",
        memory.envelopes,
        "at least 1000",
    );
    let mut sizes = |key: &str, value: ByteSize, least: ByteSize, what: &str| {
        problems.require(value >= least, key, value, format!("at least {what}"));
    };
    sizes("memory.bytes", memory.bytes, ByteSize::mib(1), "1MiB");
    sizes("memory.total", memory.total, memory.bytes, "`memory.bytes`");
    // The largest message that comes in is one record.
    sizes("spill.bytes", spill.bytes, ByteSize::mib(16), "16MiB");
    sizes("spill.total", spill.total, spill.bytes, "`spill.bytes`");
}

fn check_times(raw: &RawConfig, problems: &mut Problems) {
    let mut range = |key: &str, value: weir_config::Duration, least: u64, most: u64, range: &str| {
        let allowed = Duration::from_millis(least)..=Duration::from_millis(most);
        problems.require(allowed.contains(&value.get()), key, value, range);
    };
    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;
    range("idle_timeout", raw.idle_timeout, 1000, DAY, "1s to 1d");
    range("removed_grace", raw.removed_grace, 0, HOUR, "at most 1h");
    range("drain", raw.drain, 0, 60_000, "at most 60s");
    range("aggregate_refresh", raw.aggregate_refresh, 1000, DAY, "1s to 1d");
    range("cache.poll", raw.cache.poll, 100, HOUR, "100ms to 1h");
    range("cache.wait", raw.cache.wait, 0, 600_000, "at most 10m");
    range(
        "drains.dial_timeout",
        raw.drains.dial_timeout,
        100,
        300_000,
        "100ms to 5m",
    );
    range(
        "drains.write_timeout",
        raw.drains.write_timeout,
        100,
        300_000,
        "100ms to 5m",
    );
    range(
        "drains.http_timeout",
        raw.drains.http_timeout,
        100,
        300_000,
        "100ms to 5m",
    );
    range("spill.after", raw.spill.after, 10, 60_000, "10ms to 60s");
}

fn aggregates(raw: &[RawAggregate], problems: &mut Problems) -> Vec<Aggregate> {
    let given = |path: &Option<PathBuf>| path.clone().filter(|path| path != Path::new(""));
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

/// What each key means, for the example configuration and the reference.
pub const DOCS: &[(&str, &str)] = &[
    ("listen", "Where to serve gRPC."),
    (
        "status_listen",
        "Where to tell how the drains are doing: `GET /v1/drains` over mTLS.",
    ),
    (
        "identity",
        "The agent's certificate, for producers and for the agent below.",
    ),
    (
        "identity.ca",
        "PEM file of the CA that the others' certificates must come from.",
    ),
    (
        "identity.cert",
        "PEM file of the agent's certificate; producers expect the name `metron`.",
    ),
    ("identity.key", "PEM file of its key."),
    (
        "state_dir",
        "Where the last list of bindings and the backlog of drains that are away are kept.",
    ),
    (
        "instance",
        "Which of the agents this is: the `instance_id` of what it reports.",
    ),
    (
        "agent",
        "Where developers are told about their drains, `host:port`: an agent whose envelopes reach their apps' logs.\n\
         Without it nobody is told.",
    ),
    (
        "per_app_limit",
        "Most drains of one app, in the order of their URLs; those beyond it are told to the developer.",
    ),
    (
        "idle_timeout",
        "A drain's connection is dropped when nothing was sent on it for so long.",
    ),
    (
        "removed_grace",
        "How long what waits for a binding that was removed may take to leave; then it is counted as lost.",
    ),
    (
        "drain",
        "How long what waits may take to leave when the agent stops; then it goes to the backlog on disk.",
    ),
    (
        "aggregate_refresh",
        "The connections of aggregate drains are made anew so often, so that their name is resolved again.",
    ),
    (
        "aggregate_drains",
        "Drains of everything: `url`, and `ca`, `cert`, `key` as PEM files. If there are any, the cache's are not used.",
    ),
    ("cache", "The binding cache, which knows the drains of all apps."),
    ("cache.address", "Its address, `host:port`."),
    ("cache.server_name", "The name that its certificate must carry."),
    (
        "cache.identity",
        "CA, certificate and key towards it, if not the agent's own: `ca`, `cert`, `key`.",
    ),
    (
        "cache.poll",
        "How often it is asked, where it does not answer by itself when something changes.",
    ),
    ("cache.wait", "How long it may keep a question until something changes."),
    ("drains", "What all drains have in common."),
    (
        "drains.metadata",
        "Whether messages carry the envelope's tags, where the drain's URL does not say.",
    ),
    (
        "drains.skip_cert_verify",
        "Takes any certificate of a drain. For test beds only.",
    ),
    (
        "drains.trusted_ca",
        "PEM file of CAs that drains' certificates may come from, beside the system's.",
    ),
    (
        "drains.blocked_addresses",
        "Addresses at which no drain may be, `start-end,…`, checked on the address that is dialled.",
    ),
    (
        "drains.cipher_suites",
        "Cipher suites towards drains outside of the platform, separated by colons; forces TLS 1.2.",
    ),
    (
        "drains.dial_timeout",
        "How long resolving and connecting may take, and then the TLS handshake once more.",
    ),
    (
        "drains.write_timeout",
        "How long a TCP or TLS drain may take nothing of what is written.",
    ),
    (
        "drains.http_timeout",
        "How long a POST may take from its first byte to the end of the answer.",
    ),
    (
        "memory",
        "What may wait in memory. Beyond half of it a drain's lines go to disk; if that cannot be written to, the oldest go.",
    ),
    ("memory.envelopes", "Most envelopes of one drain."),
    ("memory.bytes", "Most bytes of one drain."),
    ("memory.total", "Most bytes of all drains together, fairly shared."),
    (
        "spill",
        "What may wait on disk, while a drain is away or slow. At the limit the oldest go.",
    ),
    ("spill.bytes", "Most bytes of one drain."),
    (
        "spill.total",
        "Most bytes of all drains; at this limit the one that holds the most gives up.",
    ),
    (
        "spill.after",
        "What waits for so long goes to disk, where it survives this process.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(raw: RawConfig) -> Vec<String> {
        let problems = Config::try_from(raw).unwrap_err();
        problems.iter().map(|problem| problem.key.clone()).collect()
    }

    /// The defaults are valid, every key has its text, and all that is wrong is said at once.
    #[test]
    fn defaults_documentation_and_problems() {
        Config::try_from(RawConfig::default()).unwrap();
        let example = weir_config::example::<RawConfig>(DOCS).unwrap();
        assert!(example.undocumented.is_empty(), "{:?}", example.undocumented);
        let raw = RawConfig {
            state_dir: PathBuf::new(),
            per_app_limit: 0,
            idle_timeout: weir_config::Duration::from_millis(1),
            memory: RawMemory {
                total: ByteSize::mib(1),
                ..RawMemory::default()
            },
            ..RawConfig::default()
        };
        assert_eq!(
            problems_of(raw),
            ["per_app_limit", "memory.total", "idle_timeout", "state_dir"]
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
