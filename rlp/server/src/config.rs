//! The RLP's configuration.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use weir_config::{ListenAddr, PeerAddr, Problems, Setting};
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    #[setting(default = "127.0.0.1:8083")]
    pub listen: ListenAddr,
    /// The RLP's certificate, for clients and for the dopplers.
    pub identity: IdentityFiles,
    /// The dopplers, `host:port` each.
    #[setting(default = ["127.0.0.1:8082"], allowed("at least one `host:port`", |dopplers| !dopplers.is_empty()))]
    pub dopplers: Vec<PeerAddr>,
    /// Most client streams at a time; further ones are refused.
    #[setting(default = 1000, min = 1, max = 100_000)]
    pub max_egress_streams: usize,
}

/// A configuration whose values are in their ranges.
#[derive(Debug, Clone)]
pub struct Config {
    written: RawConfig,
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
