//! The log cache's configuration.

use std::ops::Deref;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_auth::{RawUaa, UaaConfig};
use weir_config::{ByteSize, Duration, ListenAddr, PeerAddr, Problems, Setting};
use weir_log_cache_store::{Limits, MIN_BUDGET};
use weir_net::{PortLimits, RawPortLimits};
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    #[setting(default = "127.0.0.1:8080")]
    pub listen: ListenAddr,
    /// Where to serve REST, to clients with a certificate.
    #[setting(default = "127.0.0.1:8084")]
    pub gateway_listen: ListenAddr,
    /// Where to serve REST to clients with a token; nowhere if it is not set.
    pub proxy_listen: Option<ListenAddr>,
    /// The certificate of all ports; also shown to the dopplers.
    pub identity: IdentityFiles,
    /// The UAA whose tokens are taken.
    pub uaa: RawUaa,
    /// The dopplers that feed the log cache, `host:port` each; none: only `Ingress/Send` feeds it.
    #[setting(default = ["127.0.0.1:8082"])]
    pub dopplers: Vec<PeerAddr>,
    /// How much the log cache holds.
    pub memory: RawMemory,
    /// SQL over HTTP.
    pub sql: RawSql,
    /// Bounds of what clients may use, of each port for callers with a token.
    pub limits: RawPortLimits,
}

/// The budgets as they are written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawMemory {
    /// Bytes of memory for log lines.
    #[setting(default = "512MiB", min = ByteSize::new(MIN_BUDGET as u64))]
    pub logs: ByteSize,
    /// Bytes of memory for counters, gauges, timers and events.
    #[setting(default = "256MiB", min = ByteSize::new(MIN_BUDGET as u64))]
    pub metrics: ByteSize,
    /// Most rows of one kind that a source keeps.
    #[setting(default = 1_000_000, min = 1000)]
    pub max_per_source: u64,
}

/// The settings of the SQL interface as they are written in a configuration file.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawSql {
    /// Where to serve SQL over HTTPS.
    #[setting(default = "127.0.0.1:8086")]
    pub listen: ListenAddr,
    /// File with the operator's token, which sees everything by SQL and REST; empty: there is none.
    pub token_file: PathBuf,
    /// Longest time of a query, and the time of a query that asks for none.
    #[setting(default = "30s", min = "10ms")]
    pub timeout: Duration,
    /// Most rows of an answer.
    #[setting(default = 1_000_000, min = 1)]
    pub max_rows: usize,
    /// Memory of one query.
    #[setting(default = "256MiB", min = "8MiB")]
    pub memory: ByteSize,
    /// Queries that run at a time; further ones wait.
    #[setting(default = 4, min = 1, max = 256)]
    pub concurrency: usize,
}

/// A configuration whose values are in their ranges.
#[derive(Debug, Clone)]
pub struct Config {
    written: RawConfig,
    pub(crate) uaa: Option<UaaConfig>,
    /// What each port for callers with a token takes.
    pub(crate) port: PortLimits,
    /// What the store may hold.
    pub(crate) limits: Limits,
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
        let mut of_uaa = Problems::default();
        let uaa = raw.uaa.clone().validate(&mut of_uaa);
        problems.nest("uaa", of_uaa);
        problems.require(
            !raw.uaa.url.is_empty() || !raw.sql.token_file.as_os_str().is_empty(),
            "sql.token_file",
            "",
            "a file with the operator's token, where there is no `uaa.url`",
        );
        let limits = Limits {
            logs_bytes: raw.memory.logs.as_usize(),
            metrics_bytes: raw.memory.metrics.as_usize(),
            max_per_source: raw.memory.max_per_source,
            ..Limits::default()
        };
        problems.into_result(Self {
            port: raw.limits.limits(),
            written: raw,
            uaa,
            limits,
        })
    }
}
