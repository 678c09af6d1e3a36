//! The doppler's configuration.

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, ListenAddr, Problems};
use weir_flow::Capacity;
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    pub listen: ListenAddr,
    /// CA, certificate and key.
    pub identity: IdentityFiles,
    /// Bounds of each subscription's queue.
    pub queue: RawQueue,
    /// Most subscriptions of consumers that read live. More than all RLPs (`max_egress_streams`) and traffic controllers
    /// (`limits.subscriptions`) in front of this doppler take together, or their clients are refused here.
    pub max_subscriptions: usize,
    /// Most subscriptions of consumers that store what they get (log caches). They have their own places: live consumers,
    /// however many, never keep them out.
    pub max_durable_subscriptions: usize,
}

/// The bounds of a queue as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawQueue {
    /// Most envelopes.
    pub envelopes: usize,
    /// Most bytes.
    pub bytes: ByteSize,
}

impl Default for RawQueue {
    fn default() -> Self {
        Self {
            envelopes: 65_536,
            bytes: ByteSize::mib(32),
        }
    }
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(8082),
            identity: IdentityFiles::default(),
            queue: RawQueue::default(),
            max_subscriptions: 4000,
            max_durable_subscriptions: 64,
        }
    }
}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to serve gRPC.
    pub listen: ListenAddr,
    /// CA, certificate and key.
    pub identity: IdentityFiles,
    /// Bounds of each subscription's queue.
    pub queue: Capacity,
    /// Most live subscriptions.
    pub max_subscriptions: usize,
    /// Most durable subscriptions.
    pub max_durable_subscriptions: usize,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let bytes = raw.queue.bytes.as_usize();
        problems.require(
            raw.queue.envelopes >= 100,
            "queue.envelopes",
            raw.queue.envelopes,
            "at least 100",
        );
        problems.require(bytes >= 1 << 20, "queue.bytes", raw.queue.bytes, "at least 1MiB");
        for (key, value) in [
            ("max_subscriptions", raw.max_subscriptions),
            ("max_durable_subscriptions", raw.max_durable_subscriptions),
        ] {
            problems.require((1..=100_000).contains(&value), key, value, "1 to 100000");
        }
        problems.into_result(Self {
            listen: raw.listen,
            identity: raw.identity,
            queue: Capacity {
                envelopes: raw.queue.envelopes,
                bytes,
            },
            max_subscriptions: raw.max_subscriptions,
            max_durable_subscriptions: raw.max_durable_subscriptions,
        })
    }
}
