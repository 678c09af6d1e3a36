//! The agent's configuration.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Deserialize, Serialize};
use weir_agents_lib::bounds::{self, RawBounds};
use weir_agents_lib::rewrite::DefaultTags;
use weir_config::{Duration, ListenAddr, PeerAddr, Problems, Setting};
use weir_tls::IdentityFiles;

use crate::downstream::Downstream;
use crate::glob::Glob;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    #[setting(default = "127.0.0.1:3458")]
    pub listen: ListenAddr,
    /// The agent's certificate, for producers and for downstreams; producers expect the name `metron`.
    pub identity: IdentityFiles,
    /// Files that name further downstreams, as patterns with `*` and `?`. Each says `ingress: "PORT"`, a port of this machine;
    /// they are read once, at the start.
    #[setting(default = ["/var/vcap/jobs/*/config/ingress_port.yml"])]
    pub downstream_files: Vec<String>,
    /// How many counters have their running totals kept; the least used are forgotten first.
    #[setting(default = 10_000, min = 2, max = 1_000_000)]
    pub counter_series: usize,
    /// How long a downstream may be away before producers that wait until everything is taken no longer wait for it.
    #[setting(default = "10s", max = "1h")]
    pub patience: Duration,
    /// How long a stopping agent waits for its buffers to be delivered.
    #[setting(default = "5s", max = "60s")]
    pub drain: Duration,
    /// The agents that get everything, `host:port` by name: loggregator-agent = "127.0.0.1:3459".
    pub downstreams: BTreeMap<String, PeerAddr>,
    /// Tags that are added to envelopes without them, such as deployment, job, index and ip; at most 64.
    pub tags: BTreeMap<String, String>,
    /// What waits for one downstream. When it is full, the source that fills it loses its oldest there.
    pub buffer: RawBounds,
    /// What one downstream may have received without acknowledging it. Beyond that the connection is renewed, and the agent no
    /// longer counts these as lost if that downstream is killed.
    #[setting(default = RawBounds::in_flight())]
    pub in_flight: RawBounds,
}

/// A configuration whose values are in their ranges.
#[derive(Debug)]
pub struct Config {
    written: RawConfig,
    pub(crate) downstreams: Vec<Downstream>,
    pub(crate) downstream_files: Vec<Glob>,
    pub(crate) tags: DefaultTags,
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
        problems.require(
            !raw.downstreams.is_empty() || !raw.downstream_files.is_empty(),
            "downstreams",
            "{}",
            "at least one `name = \"host:port\"`, unless `downstream_files` has patterns",
        );
        let mut downstreams = Vec::new();
        for (name, address) in &raw.downstreams {
            let key = format!("downstreams.{name}");
            downstreams.extend(problems.accept(&key, Downstream::named(name, address.clone())));
        }
        let mut downstream_files = Vec::new();
        for pattern in &raw.downstream_files {
            downstream_files.extend(problems.accept("downstream_files", Glob::parse(pattern)));
        }
        let tags = bounds::check_tags(raw.tags.clone(), &mut problems);
        problems.into_result_with(|| {
            Some(Self {
                written: raw,
                downstreams,
                downstream_files,
                tags: tags?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use weir_config::ByteSize;

    use super::*;

    /// The defaults are valid, and all that is wrong is said at once.
    #[test]
    fn defaults_and_problems() {
        Config::try_from(RawConfig::default()).unwrap();
        let raw = RawConfig {
            downstreams: [("a b".to_owned(), "127.0.0.1:1".parse().unwrap())].into(),
            downstream_files: vec!["/x/[a]".to_owned()],
            counter_series: 1,
            patience: Duration::from_secs(7200),
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
                "counter_series",
                "patience",
                "buffer.envelopes",
                "buffer.bytes",
                "downstreams.a b",
                "downstream_files",
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
