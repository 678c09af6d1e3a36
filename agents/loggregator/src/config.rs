//! The agent's configuration.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Deserialize, Serialize};
use weir_agents_lib::bounds::{self, RawBounds};
use weir_agents_lib::rewrite::DefaultTags;
use weir_config::{Duration, ListenAddr, PeerAddr, Problems, Setting};
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    #[setting(default = "127.0.0.1:3458")]
    pub listen: ListenAddr,
    /// The agent's certificate, for producers and for dopplers; producers expect the name `metron`.
    pub identity: IdentityFiles,
    /// The dopplers, `host:port` each.
    #[setting(default = ["127.0.0.1:8082"], allowed("at least one `host:port`", |dopplers| !dopplers.is_empty()))]
    pub dopplers: Vec<PeerAddr>,
    /// Whether log lines are discarded, and only metrics pass.
    pub logs_disabled: bool,
    /// How many counters have their running totals kept; the least used are forgotten first.
    #[setting(default = 10_000, min = 2, max = 1_000_000)]
    pub counter_series: usize,
    /// How long a stopping agent waits for its buffer to be delivered.
    #[setting(default = "5s", max = "60s")]
    pub drain: Duration,
    /// Tags that are added to envelopes without them, such as deployment, job, index and ip; at most 64.
    pub tags: BTreeMap<String, String>,
    /// What waits for a doppler. When it is full, the source that fills it loses its oldest.
    pub buffer: RawBounds,
    /// What one doppler may have received without acknowledging that its consumers have it. Beyond that the connection is
    /// renewed, and the agent no longer counts these as lost if that doppler is killed.
    #[setting(default = RawBounds::in_flight())]
    pub in_flight: RawBounds,
}

/// A configuration whose values are in their ranges.
#[derive(Debug)]
pub struct Config {
    written: RawConfig,
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
        let tags = bounds::check_tags(raw.tags.clone(), &mut problems);
        problems.into_result_with(|| {
            Some(Self {
                written: raw,
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
            dopplers: Vec::new(),
            counter_series: 1,
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
            ["dopplers", "counter_series", "buffer.envelopes", "buffer.bytes", "tags"]
        );
    }
}
