//! The RLP's configuration.

use serde::{Deserialize, Serialize};
use weir_config::{ListenAddr, PeerAddr, Problems};
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
    /// Most client streams at a time.
    pub max_egress_streams: usize,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(8083),
            identity: IdentityFiles::default(),
            dopplers: vec![ListenAddr::loopback(8082).socket().into()],
            max_egress_streams: 1000,
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
    /// The dopplers, `host:port` each.
    pub dopplers: Vec<PeerAddr>,
    /// Most client streams at a time.
    pub max_egress_streams: usize,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.require(!raw.dopplers.is_empty(), "dopplers", "[]", "at least one `host:port`");
        let streams = raw.max_egress_streams;
        problems.require(
            (1..=100_000).contains(&streams),
            "max_egress_streams",
            streams,
            "1 to 100000",
        );
        problems.into_result(Self {
            listen: raw.listen,
            identity: raw.identity,
            dopplers: raw.dopplers,
            max_egress_streams: raw.max_egress_streams,
        })
    }
}
