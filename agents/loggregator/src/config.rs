//! The agent's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, ListenAddr, PeerAddr, Problems};
use weir_flow::Capacity;
use weir_tls::IdentityFiles;

use crate::egress::InFlightLimit;
use crate::rewrite::DefaultTags;

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

/// Two bounds of the same thing as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawBounds {
    /// Most envelopes.
    pub envelopes: usize,
    /// Most bytes.
    pub bytes: ByteSize,
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
            buffer: RawBounds {
                envelopes: 100_000,
                bytes: ByteSize::mib(64),
            },
            in_flight: RawBounds {
                envelopes: 262_144,
                bytes: ByteSize::mib(128),
            },
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
        let series = raw.counter_series;
        problems.require(
            (2..=1_000_000).contains(&series),
            "counter_series",
            series,
            "2 to 1000000",
        );
        problems.require(
            raw.drain.get() <= Duration::from_secs(60),
            "drain",
            raw.drain,
            "at most 60s",
        );
        let mut bounds = |key: &str, bounds: &RawBounds| {
            let envelopes = format!("{key}.envelopes");
            problems.require(bounds.envelopes >= 1000, &envelopes, bounds.envelopes, "at least 1000");
            problems.require(
                bounds.bytes.bytes() >= 1 << 20,
                &format!("{key}.bytes"),
                bounds.bytes,
                "at least 1MiB",
            );
        };
        bounds("buffer", &raw.buffer);
        bounds("in_flight", &raw.in_flight);
        if raw.tags.contains_key("") {
            problems.reject("tags", "must not have an empty key");
        }
        let count = raw.tags.len();
        let tags = DefaultTags::new(raw.tags);
        problems.require(tags.is_some(), "tags", format!("{count} tags"), "at most 64 tags");
        problems.into_result_with(|| {
            Some(Self {
                listen: raw.listen,
                identity: raw.identity,
                dopplers: raw.dopplers,
                logs_disabled: raw.logs_disabled,
                counter_series: raw.counter_series,
                drain: raw.drain.get(),
                tags: tags?,
                buffer: Capacity {
                    envelopes: raw.buffer.envelopes,
                    bytes: raw.buffer.bytes.as_usize(),
                },
                in_flight: InFlightLimit {
                    envelopes: raw.in_flight.envelopes as u64,
                    bytes: raw.in_flight.bytes.bytes(),
                },
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
