//! The original's job file: `gorouter -c gorouter.yml`, so that one program can be swapped in a running deployment.
//!
//! Each key of the file is mapped to the configuration, passed over with a reason ([`Job::passed_over`]), or refused with one.
//! Certificates and keys stand in the file itself; they are written into a private directory, whose files the program then reads
//! as any other.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;
use weir_config::yaml;
use weir_error::{Classify, ErrorKind};

use crate::RawConfig;

mod keys;
mod lines;
mod mapping;
mod material;
mod run;

use keys::Keys;
use material::Material;
pub use run::run;

/// A job file that was understood.
#[derive(Debug)]
pub struct Job {
    /// What it means.
    pub config: RawConfig,
    /// The keys that have no effect, each with the reason.
    pub passed_over: Vec<(String, &'static str)>,
    /// Whether the times of start lines are of RFC 3339.
    pub rfc3339: bool,
}

/// Why a job file cannot be used.
#[derive(Debug, Error)]
pub enum JobError {
    /// It is no YAML of this form.
    #[error(transparent)]
    Yaml(#[from] yaml::YamlError),
    /// A key cannot have this value.
    #[error("key `{key}` {reason}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or key of the file cannot be written.
    #[error("certificates of the job file cannot be written")]
    Material(#[from] std::io::Error),
}

impl Classify for JobError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Yaml(_) | Self::Value { .. } => ErrorKind::InvalidInput,
            Self::Material(_) => ErrorKind::Unavailable,
        }
    }
}

/// Keys whose effect other parts of the program have, or that nothing here has.
const WITHOUT_EFFECT: [(&str, &str); 27] = [
    ("logging.level", "the program's own log has its own level"),
    (
        "logging.format",
        "lines of the program's start have the original's form",
    ),
    ("logging.syslog", "lines of requests are envelopes"),
    ("logging.syslog_addr", "lines of requests are envelopes"),
    ("logging.syslog_network", "lines of requests are envelopes"),
    ("logging.syslog_truncate", "lines of requests are envelopes"),
    (
        "logging.metron_address",
        "envelopes go to an agent over gRPC, by `telemetry.agent`",
    ),
    (
        "logging.loggregator_enabled",
        "envelopes go to an agent over gRPC, by `telemetry.agent`",
    ),
    ("access_log.enable_streaming", "lines of requests are envelopes"),
    ("go_max_procs", "the program uses what the system gives it"),
    ("debug_addr", "there is no debug server of Go"),
    ("pid_file", "the supervisor knows the process"),
    ("prometheus", "metrics leave as envelopes"),
    ("per_request_metrics_reporting", "metrics cost no message of their own"),
    (
        "enable_envelope_v1_metrics",
        "metrics leave as envelopes of the second version",
    ),
    (
        "per_app_prometheus_http_metrics_reporting",
        "metrics leave as envelopes",
    ),
    (
        "publish_start_message_interval",
        "the router says that it is there with each connection to NATS",
    ),
    ("publish_active_apps_interval", "nobody subscribes to it"),
    (
        "route_latency_metric_muzzle_duration",
        "the metric is measured from the start",
    ),
    (
        "enable_http1_concurrent_read_write",
        "both directions always move at once",
    ),
    ("websocket_dial_timeout", "all connections to backends have one limit"),
    ("oauth", "no token is needed without the routing API"),
    (
        "token_fetcher_max_retries",
        "no token is needed without the routing API",
    ),
    (
        "token_fetcher_retry_interval",
        "no token is needed without the routing API",
    ),
    (
        "token_fetcher_expiration_buffer_time",
        "no token is needed without the routing API",
    ),
    ("healthcheck_poll_interval", "the health is asked for by load balancers"),
    ("healthcheck_timeout", "the health is asked for by load balancers"),
];

impl Job {
    /// Reads a job file. Certificates go into files below `directory`; `address` is the router's own.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(text: &str, directory: &Path, address: IpAddr) -> Result<Self, JobError> {
        let mut keys = Keys::new(yaml::read(text)?);
        let material = Material::new(directory)?;
        let mut config = RawConfig {
            address: address.to_string(),
            ..RawConfig::default()
        };
        mapping::ports(&mut keys, &material, &mut config)?;
        mapping::nats(&mut keys, &material, &mut config)?;
        mapping::backends(&mut keys, &material, &mut config)?;
        mapping::table(&mut keys, &mut config)?;
        mapping::headers(&mut keys, &mut config)?;
        mapping::times(&mut keys, &mut config)?;
        mapping::route_services(&mut keys, &material, &mut config)?;
        mapping::telemetry(&mut keys, &mut config)?;
        mapping::refuse(&mut keys)?;
        let rfc3339 = keys.text("logging.format.timestamp")? == "rfc3339";
        Ok(Self {
            rfc3339,
            config,
            passed_over: keys.rest(&WITHOUT_EFFECT),
        })
    }
}

/// The private directory for the certificates of this process.
#[must_use]
pub fn material_directory() -> PathBuf {
    std::env::temp_dir().join(format!("weir-gorouter-{}", std::process::id()))
}

#[cfg(test)]
mod tests;
