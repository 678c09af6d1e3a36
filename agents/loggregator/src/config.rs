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

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    pub listen: ListenAddr,
    /// CA, certificate and key; also shown to the dopplers.
    pub identity: IdentityFiles,
    /// The dopplers, `host:port` each.
    pub dopplers: Vec<PeerAddr>,
    /// Whether log lines are discarded, and only metrics pass.
    pub logs_disabled: bool,
    /// How many counters have their running totals kept.
    pub counter_series: usize,
    /// How long what is buffered may take to leave when the agent stops.
    pub drain: weir_config::Duration,
    /// Tags that are added to whatever lacks them.
    pub tags: BTreeMap<String, String>,
    /// Bounds of what waits for a doppler.
    pub buffer: RawBounds,
    /// Bounds of what one doppler has not acknowledged.
    pub in_flight: RawBounds,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(3458),
            identity: IdentityFiles::default(),
            dopplers: vec![ListenAddr::loopback(8082).socket().into()],
            logs_disabled: false,
            counter_series: 10_000,
            drain: weir_config::Duration::from_secs(5),
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
    /// CA, certificate and key; also shown to the dopplers.
    pub identity: IdentityFiles,
    /// The dopplers, `host:port` each.
    pub dopplers: Vec<PeerAddr>,
    /// Whether log lines are discarded, and only metrics pass.
    pub logs_disabled: bool,
    /// How many counters have their running totals kept.
    pub counter_series: usize,
    /// How long what is buffered may take to leave when the agent stops.
    pub drain: Duration,
    /// Tags that are added to whatever lacks them.
    pub tags: DefaultTags,
    /// Bounds of what waits for a doppler.
    pub buffer: Capacity,
    pub(crate) in_flight: InFlightLimit,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.require(!raw.dopplers.is_empty(), "dopplers", "[]", "at least one `host:port`");
        bounds::check_common(raw.counter_series, raw.drain, &mut problems);
        raw.buffer.check("buffer", &mut problems);
        raw.in_flight.check("in_flight", &mut problems);
        let tags = bounds::check_tags(raw.tags, &mut problems);
        problems.into_result_with(|| {
            Some(Self {
                listen: raw.listen,
                identity: raw.identity,
                dopplers: raw.dopplers,
                logs_disabled: raw.logs_disabled,
                counter_series: raw.counter_series,
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
    ("identity", "The agent's certificate, for producers and for dopplers."),
    (
        "identity.ca",
        "PEM file of the CA that producers' and dopplers' certificates must come from.",
    ),
    (
        "identity.cert",
        "PEM file of the agent's certificate; producers expect the name `metron`.",
    ),
    ("identity.key", "PEM file of its key."),
    ("dopplers", "The dopplers, `host:port` each."),
    (
        "logs_disabled",
        "Whether log lines are discarded, and only metrics pass.",
    ),
    (
        "counter_series",
        "How many counters have their running totals kept; the least used are forgotten first.",
    ),
    (
        "drain",
        "How long what is buffered may take to leave when the agent stops.",
    ),
    (
        "tags",
        "Tags that are added to whatever lacks them, such as deployment, job, index and ip.",
    ),
    (
        "buffer",
        "What waits for a doppler. When it is full, the source that fills it loses its oldest.",
    ),
    ("buffer.envelopes", "Most envelopes."),
    ("buffer.bytes", "Most bytes."),
    (
        "in_flight",
        "What one doppler may have received without acknowledging that its consumers have it. Beyond that the connection \
         is renewed,\nand the agent no longer counts these as lost if that doppler is killed.",
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
