//! The RLP's configuration.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use weir_config::Problems;
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    pub listen: SocketAddr,
    /// CA, certificate and key; also shown to the dopplers.
    pub identity: IdentityFiles,
    /// The dopplers, `host:port` each.
    pub dopplers: Vec<String>,
    /// Most client streams at a time.
    pub max_egress_streams: usize,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8083)),
            identity: IdentityFiles::default(),
            dopplers: vec!["127.0.0.1:8082".to_owned()],
            max_egress_streams: 1000,
        }
    }
}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to serve gRPC.
    pub listen: SocketAddr,
    /// CA, certificate and key.
    pub identity: IdentityFiles,
    /// The dopplers, `host:port` each.
    pub dopplers: Vec<String>,
    /// Most client streams at a time.
    pub max_egress_streams: usize,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.require(!raw.dopplers.is_empty(), "dopplers", "[]", "at least one `host:port`");
        for doppler in &raw.dopplers {
            let has_port = doppler
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
            problems.require(has_port, "dopplers", doppler, "`host:port`");
        }
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
