//! The agent's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_agents_lib::InFlightLimit;
use weir_agents_lib::bounds::{self, RawBounds};
use weir_agents_lib::rewrite::DefaultTags;
use weir_config::{ListenAddr, PeerAddr, Problems};
use weir_flow::Capacity;
use weir_tls::IdentityFiles;

use crate::downstream::Downstream;
use crate::glob::Glob;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    pub listen: ListenAddr,
    /// CA, certificate and key; also shown to the downstreams.
    pub identity: IdentityFiles,
    /// Files that name further downstreams, as patterns with `*` and `?`.
    pub downstream_files: Vec<String>,
    /// How many counters have their running totals kept.
    pub counter_series: usize,
    /// How long producers are kept waiting for a downstream that is away.
    pub patience: weir_config::Duration,
    /// How long what is buffered may take to leave when the agent stops.
    pub drain: weir_config::Duration,
    /// The downstreams: `host:port` by name.
    pub downstreams: BTreeMap<String, PeerAddr>,
    /// Tags that are added to whatever lacks them.
    pub tags: BTreeMap<String, String>,
    /// Bounds of what waits for one downstream.
    pub buffer: RawBounds,
    /// Bounds of what one downstream has not acknowledged.
    pub in_flight: RawBounds,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(3458),
            identity: IdentityFiles::default(),
            downstream_files: vec!["/var/vcap/jobs/*/config/ingress_port.yml".to_owned()],
            counter_series: 10_000,
            patience: weir_config::Duration::from_secs(10),
            drain: weir_config::Duration::from_secs(5),
            downstreams: BTreeMap::new(),
            tags: BTreeMap::new(),
            buffer: RawBounds::buffer(),
            in_flight: RawBounds::in_flight(),
        }
    }
}

/// The validated configuration.
#[derive(Debug)]
pub struct Config {
    /// Where to serve gRPC.
    pub listen: ListenAddr,
    /// CA, certificate and key; also shown to the downstreams.
    pub identity: IdentityFiles,
    /// The downstreams that are configured.
    pub downstreams: Vec<Downstream>,
    /// How many counters have their running totals kept.
    pub counter_series: usize,
    /// How long producers are kept waiting for a downstream that is away.
    pub patience: Duration,
    /// How long what is buffered may take to leave when the agent stops.
    pub drain: Duration,
    /// Tags that are added to whatever lacks them.
    pub tags: DefaultTags,
    /// Bounds of what waits for one downstream.
    pub buffer: Capacity,
    pub(crate) downstream_files: Vec<Glob>,
    pub(crate) in_flight: InFlightLimit,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.require(
            !raw.downstreams.is_empty() || !raw.downstream_files.is_empty(),
            "downstreams",
            "{}",
            "at least one `name = \"host:port\"`, unless `downstream_files` has patterns",
        );
        let mut downstreams = Vec::new();
        for (name, address) in raw.downstreams {
            let key = format!("downstreams.{name}");
            downstreams.extend(problems.accept(&key, Downstream::named(&name, address)));
        }
        let mut files = Vec::new();
        for pattern in &raw.downstream_files {
            files.extend(problems.accept("downstream_files", Glob::parse(pattern)));
        }
        bounds::check_common(raw.counter_series, raw.drain, &mut problems);
        problems.require(
            raw.patience.get() <= Duration::from_hours(1),
            "patience",
            raw.patience,
            "at most 1h",
        );
        raw.buffer.check("buffer", &mut problems);
        raw.in_flight.check("in_flight", &mut problems);
        let tags = bounds::check_tags(raw.tags, &mut problems);
        problems.into_result_with(|| {
            Some(Self {
                listen: raw.listen,
                identity: raw.identity,
                downstreams,
                downstream_files: files,
                counter_series: raw.counter_series,
                patience: raw.patience.get(),
                drain: raw.drain.get(),
                tags: tags?,
                buffer: raw.buffer.capacity(),
                in_flight: raw.in_flight.limit(),
            })
        })
    }
}

/// What each key means, for the example configuration and the reference.
pub const DOCS: &[(&str, &str)] = &[
    ("listen", "Where to serve gRPC."),
    (
        "identity",
        "The agent's certificate, for producers and for downstreams.",
    ),
    (
        "identity.ca",
        "PEM file of the CA that producers' and downstreams' certificates must come from.",
    ),
    (
        "identity.cert",
        "PEM file of the agent's certificate; producers expect the name `metron`.",
    ),
    ("identity.key", "PEM file of its key."),
    (
        "downstream_files",
        "Files that name further downstreams, as patterns with `*` and `?`. Each says `ingress: \"PORT\"`, a port of this\n\
         machine; they are read once, at the start.",
    ),
    (
        "counter_series",
        "How many counters have their running totals kept; the least used are forgotten first.",
    ),
    (
        "patience",
        "How long a downstream may be away before producers that wait until everything is taken no longer wait for it.",
    ),
    (
        "drain",
        "How long what is buffered may take to leave when the agent stops.",
    ),
    (
        "downstreams",
        "The agents that get everything, `host:port` by name: loggregator-agent = \"127.0.0.1:3459\".",
    ),
    (
        "tags",
        "Tags that are added to whatever lacks them, such as deployment, job, index and ip.",
    ),
    (
        "buffer",
        "What waits for one downstream. When it is full, the source that fills it loses its oldest there.",
    ),
    ("buffer.envelopes", "Most envelopes."),
    ("buffer.bytes", "Most bytes."),
    (
        "in_flight",
        "What one downstream may have received without acknowledging it. Beyond that the connection is renewed,\nand the \
         agent no longer counts these as lost if that downstream is killed.",
    ),
    ("in_flight.envelopes", "Most envelopes."),
    ("in_flight.bytes", "Most bytes."),
];

#[cfg(test)]
mod tests {
    use weir_config::ByteSize;

    use super::*;

    /// The defaults are valid, every key has its text, and all that is wrong is said at once.
    #[test]
    fn defaults_documentation_and_problems() {
        Config::try_from(RawConfig::default()).unwrap();
        let example = weir_config::example::<RawConfig>(DOCS).unwrap();
        assert!(example.undocumented.is_empty(), "{:?}", example.undocumented);
        let raw = RawConfig {
            downstreams: [("a b".to_owned(), "127.0.0.1:1".parse().unwrap())].into(),
            downstream_files: vec!["/x/[a]".to_owned()],
            counter_series: 1,
            patience: weir_config::Duration::from_secs(7200),
            tags: (0..65).map(|index| (index.to_string(), String::new())).collect(),
            buffer: RawBounds {
                envelopes: 1,
                bytes: ByteSize::kib(1),
            },
            ..RawConfig::default()
        };
        let problems = Config::try_from(raw).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "downstreams.a b",
                "downstream_files",
                "counter_series",
                "patience",
                "buffer.envelopes",
                "buffer.bytes",
                "tags"
            ]
        );
        let nowhere = RawConfig {
            downstream_files: Vec::new(),
            ..RawConfig::default()
        };
        assert_eq!(
            Config::try_from(nowhere)
                .unwrap_err()
                .iter()
                .next()
                .map(|problem| problem.key.as_str()),
            Some("downstreams")
        );
    }
}
