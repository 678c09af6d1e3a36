//! The doppler's configuration.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, ListenAddr, Problems, Setting};
use weir_flow::Capacity;
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    #[setting(default = "127.0.0.1:8082")]
    pub listen: ListenAddr,
    /// The doppler's certificate, for agents and for subscribers.
    pub identity: IdentityFiles,
    /// Bounds of each subscription's queue.
    pub queue: RawQueue,
    /// Most subscriptions of consumers that read live. More than all RLPs (`max_egress_streams`) and traffic controllers
    /// (`limits.subscriptions`) in front of this doppler take together, or their clients are refused here.
    #[setting(default = 4000, min = 1, max = 100_000)]
    pub max_subscriptions: usize,
    /// Most subscriptions of consumers that store what they get (log caches). They have their own places: live consumers,
    /// however many, never keep them out.
    #[setting(default = 64, min = 1, max = 100_000)]
    pub max_durable_subscriptions: usize,
}

/// The bounds of a queue as they are written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawQueue {
    /// Most envelopes.
    #[setting(default = 65_536, min = 100)]
    pub envelopes: usize,
    /// Most bytes.
    #[setting(default = "32MiB", min = "1MiB")]
    pub bytes: ByteSize,
}

/// A configuration whose values are in their ranges.
#[derive(Debug, Clone)]
pub struct Config {
    written: RawConfig,
}

impl Config {
    /// Bounds of each subscription's queue.
    #[must_use]
    pub fn queue(&self) -> Capacity {
        Capacity {
            envelopes: self.queue.envelopes,
            bytes: self.queue.bytes.as_usize(),
        }
    }
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
        raw.problems().into_result(Self { written: raw })
    }
}
