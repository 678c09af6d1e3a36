//! The log cache's configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_auth::{RawUaa, UaaConfig};
use weir_config::{ByteSize, ListenAddr, PeerAddr, Problems};
use weir_log_cache_store::{Limits, MIN_BUDGET};
use weir_net::{PortLimits, RawPortLimits, port_limits};
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve gRPC.
    pub listen: ListenAddr,
    /// Where to serve REST, to clients with a certificate.
    pub gateway_listen: ListenAddr,
    /// Where to serve REST to clients with a token; nowhere if it is not set.
    pub proxy_listen: Option<ListenAddr>,
    /// CA, certificate and key of all faces; also shown to the dopplers.
    pub identity: IdentityFiles,
    /// The UAA whose tokens are taken.
    pub uaa: RawUaa,
    /// The dopplers that it is fed from, `host:port` each; none: only `Ingress/Send` feeds it.
    pub dopplers: Vec<PeerAddr>,
    /// What may be held.
    pub memory: RawMemory,
    /// SQL over HTTP.
    pub sql: RawSql,
    /// Bounds of what clients may use, of each port for callers with a token.
    pub limits: RawPortLimits,
}

/// The budgets as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMemory {
    /// Budget of log lines.
    pub logs: ByteSize,
    /// Budget of counters, gauges, timers and events.
    pub metrics: ByteSize,
    /// Most rows of one kind that a source keeps.
    pub max_per_source: u64,
}

/// The SQL face as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSql {
    /// Where to serve.
    pub listen: ListenAddr,
    /// File with the operator's token, which sees everything by SQL and REST; empty: there is none.
    pub token_file: PathBuf,
    /// Longest query, and the time a query gets that asks for none.
    pub timeout: weir_config::Duration,
    /// Most rows of an answer.
    pub max_rows: usize,
    /// Memory of one query.
    pub memory: ByteSize,
    /// Queries that run at a time; further ones wait.
    pub concurrency: usize,
}

impl Default for RawMemory {
    fn default() -> Self {
        Self {
            logs: ByteSize::mib(512),
            metrics: ByteSize::mib(256),
            max_per_source: 1_000_000,
        }
    }
}

impl Default for RawSql {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(8086),
            token_file: PathBuf::new(),
            timeout: weir_config::Duration::from_secs(30),
            max_rows: 1_000_000,
            memory: ByteSize::mib(256),
            concurrency: 4,
        }
    }
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(8080),
            gateway_listen: ListenAddr::loopback(8084),
            proxy_listen: None,
            identity: IdentityFiles::default(),
            uaa: RawUaa::default(),
            dopplers: vec![ListenAddr::loopback(8082).socket().into()],
            memory: RawMemory::default(),
            sql: RawSql::default(),
            limits: RawPortLimits::default(),
        }
    }
}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to serve gRPC.
    pub listen: ListenAddr,
    /// Where to serve REST to clients with a certificate.
    pub gateway_listen: ListenAddr,
    /// Where to serve REST to clients with a token.
    pub proxy_listen: Option<ListenAddr>,
    /// CA, certificate and key.
    pub identity: IdentityFiles,
    /// The UAA whose tokens are taken.
    pub uaa: Option<UaaConfig>,
    /// The dopplers, `host:port` each.
    pub dopplers: Vec<PeerAddr>,
    /// What each port for callers with a token takes.
    pub port: PortLimits,
    /// What the store may hold.
    pub limits: Limits,
    /// SQL over HTTP.
    pub sql: SqlConfig,
}

/// The validated SQL face.
#[derive(Debug, Clone)]
pub struct SqlConfig {
    /// Where to serve.
    pub listen: ListenAddr,
    /// File with the operator's token; empty if there is none.
    pub token_file: PathBuf,
    /// Longest query.
    pub timeout: Duration,
    /// Most rows of an answer.
    pub max_rows: usize,
    /// Memory of one query, in bytes.
    pub memory: usize,
    /// Queries that run at a time.
    pub concurrency: usize,
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let RawMemory {
            logs,
            metrics,
            max_per_source,
        } = raw.memory;
        for (key, budget) in [("memory.logs", logs), ("memory.metrics", metrics)] {
            let allowed = format!("at least {}MiB", MIN_BUDGET.div_ceil(1 << 20));
            problems.require(budget.as_usize() >= MIN_BUDGET, key, budget, allowed);
        }
        problems.require(
            max_per_source >= 1000,
            "memory.max_per_source",
            max_per_source,
            "at least 1000",
        );
        let RawSql {
            listen,
            token_file,
            timeout,
            max_rows,
            memory,
            concurrency,
        } = raw.sql;
        let has_uaa = !raw.uaa.url.is_empty();
        let mut of_uaa = Problems::default();
        let uaa = raw.uaa.validate(&mut of_uaa);
        problems.nest("uaa", of_uaa);
        problems.require(
            has_uaa || !token_file.as_os_str().is_empty(),
            "sql.token_file",
            "",
            "a file with the operator's token, where there is no `uaa.url`",
        );
        let port = port_limits(&raw.limits, &mut problems);
        let timeout = timeout.get();
        problems.require(
            timeout >= Duration::from_millis(10),
            "sql.timeout",
            format!("{timeout:?}"),
            "at least 10ms",
        );
        problems.require(max_rows > 0, "sql.max_rows", max_rows, "at least 1");
        problems.require(memory.as_usize() >= 8 << 20, "sql.memory", memory, "at least 8MiB");
        problems.require(
            (1..=256).contains(&concurrency),
            "sql.concurrency",
            concurrency,
            "1 to 256",
        );
        problems.into_result(Self {
            listen: raw.listen,
            gateway_listen: raw.gateway_listen,
            proxy_listen: raw.proxy_listen,
            identity: raw.identity,
            uaa,
            dopplers: raw.dopplers,
            port,
            limits: Limits {
                logs_bytes: logs.as_usize(),
                metrics_bytes: metrics.as_usize(),
                max_per_source,
                ..Limits::default()
            },
            sql: SqlConfig {
                listen,
                token_file,
                timeout,
                max_rows,
                memory: memory.as_usize(),
                concurrency,
            },
        })
    }
}
