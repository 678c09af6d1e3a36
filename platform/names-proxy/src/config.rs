//! The configuration of the names proxy.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use weir_config::{ListenAddr, PeerAddr, Problems, Setting};

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to listen. Callers that are not on this machine reach the names of the domain only.
    #[setting(default = "127.0.0.1:3128")]
    pub listen: ListenAddr,
    /// The domain whose names lead to the router.
    #[setting(default = "weir.localhost", allowed("a domain", |domain: &String| !domain.is_empty()))]
    pub domain: String,
    /// The port of the router without TLS.
    #[setting(default = "127.0.0.1:80")]
    pub router_http: PeerAddr,
    /// The port of the router with TLS.
    #[setting(default = "127.0.0.1:443")]
    pub router_https: PeerAddr,
    /// Most connections at a time. A tunnel is one for as long as it is open.
    #[setting(default = 4096, min = 16, max = 1_000_000)]
    pub max_connections: usize,
}

/// A configuration whose values are in their ranges.
#[derive(Debug)]
pub struct Config(RawConfig);

impl Deref for Config {
    type Target = RawConfig;

    fn deref(&self) -> &RawConfig {
        &self.0
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        raw.problems().into_result(Self(raw))
    }
}
