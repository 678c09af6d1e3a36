//! The job file as it is written: the original's keys.

use std::collections::BTreeMap;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use weir_config::Duration;

/// Keys that no structure here has.
type Rest = BTreeMap<String, IgnoredAny>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Document {
    pub(super) api: Api,
    pub(super) admin_port: u16,
    pub(super) log_guid: String,
    pub(super) max_ttl: GoDuration,
    pub(super) system_domain: String,
    pub(super) oauth: OAuth,
    pub(super) router_groups: Vec<Named>,
    pub(super) reserved_system_component_ports: Vec<u16>,
    pub(super) fail_on_router_port_conflicts: bool,
    pub(super) sqldb: SqlDb,
    pub(super) locket: Locket,
    pub(super) uuid: String,
    pub(super) skip_ssl_validation: bool,
    pub(super) lock_ttl: GoDuration,
    pub(super) retry_interval: GoDuration,
    debug_address: Option<IgnoredAny>,
    metron_config: Option<IgnoredAny>,
    metrics_reporting_interval: Option<IgnoredAny>,
    statsd_endpoint: Option<IgnoredAny>,
    statsd_client_flush_interval: Option<IgnoredAny>,
    lock_resource_key: Option<IgnoredAny>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Api {
    pub(super) listen_port: u16,
    pub(super) http_enabled: bool,
    pub(super) mtls_listen_port: u16,
    pub(super) mtls_client_ca_file: String,
    pub(super) mtls_server_cert_file: String,
    pub(super) mtls_server_key_file: String,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OAuth {
    pub(super) token_endpoint: String,
    pub(super) port: u16,
    pub(super) ca_certs: String,
    client_name: String,
    client_secret: String,
    // The original does not read it here, though its own template writes it.
    #[serde(rename = "skip_ssl_validation")]
    _skip_ssl_validation: Option<IgnoredAny>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SqlDb {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) schema: String,
    pub(super) r#type: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) ca_cert: String,
    pub(super) skip_hostname_validation: bool,
    max_idle_connections: Option<IgnoredAny>,
    max_open_connections: Option<IgnoredAny>,
    connections_max_lifetime_seconds: Option<IgnoredAny>,
    #[serde(flatten)]
    rest: Rest,
}

/// Where the original's lock is. Its other keys have no effect either.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Locket {
    pub(super) locket_address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) r#type: String,
    pub(super) reservable_ports: Ports,
}

/// Ports as a number, a text, or a list of numbers.
#[derive(Debug, Default)]
pub(super) struct Ports(pub(super) String);

/// A duration as Go writes it; absent or 0: the default.
#[derive(Debug, Default)]
pub(super) struct GoDuration(pub(super) Option<Duration>);

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Text(String),
            List(Vec<u32>),
        }
        let wrong = |_| D::Error::custom("invalid type for reservable port");
        Ok(Self(match Written::deserialize(deserializer).map_err(wrong)? {
            Written::Number(port) => port.to_string(),
            Written::Text(text) => text,
            Written::List(ports) => ports.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
        }))
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(Self(None));
        };
        let duration = text.parse::<Duration>();
        duration
            .map(Some)
            .map(Self)
            .map_err(|error| D::Error::custom(error.to_string()))
    }
}

impl Document {
    /// The keys that are not the original's.
    pub(super) fn unknown(&self) -> Vec<(String, &'static str)> {
        let groups = [
            ("", &self.rest),
            ("api.", &self.api.rest),
            ("oauth.", &self.oauth.rest),
            ("sqldb.", &self.sqldb.rest),
        ];
        let keys = groups
            .iter()
            .flat_map(|(group, rest)| rest.keys().map(move |key| format!("{group}{key}")));
        keys.map(|key| (key, "the original does not have this key")).collect()
    }

    /// The keys of the original that have no effect here, as far as they are written.
    pub(super) fn without_effect(&self) -> Vec<(String, &'static str)> {
        const METRICS: &str = "metrics leave as envelopes, by the program's own telemetry";
        const BOUNDED: &str = "connections to the database are bounded by the program";
        const TOKENS: &str = "tokens are checked without a client of UAA";
        let reserved = !self.reserved_system_component_ports.is_empty() && !self.fail_on_router_port_conflicts;
        let all = [
            (
                "debug_address",
                self.debug_address.is_some(),
                "there is no debug server",
            ),
            ("metron_config", self.metron_config.is_some(), METRICS),
            (
                "metrics_reporting_interval",
                self.metrics_reporting_interval.is_some(),
                METRICS,
            ),
            ("statsd_endpoint", self.statsd_endpoint.is_some(), METRICS),
            (
                "statsd_client_flush_interval",
                self.statsd_client_flush_interval.is_some(),
                METRICS,
            ),
            ("locket", true, "the lock is in the database"),
            (
                "lock_resource_key",
                self.lock_resource_key.is_some(),
                "the lock is in the database",
            ),
            (
                "reserved_system_component_ports",
                reserved,
                "`fail_on_router_port_conflicts` is not set",
            ),
            (
                "skip_ssl_validation",
                self.skip_ssl_validation,
                "the certificate of UAA is always checked",
            ),
            ("oauth.client_name", !self.oauth.client_name.is_empty(), TOKENS),
            ("oauth.client_secret", !self.oauth.client_secret.is_empty(), TOKENS),
            (
                "sqldb.max_idle_connections",
                self.sqldb.max_idle_connections.is_some(),
                BOUNDED,
            ),
            (
                "sqldb.max_open_connections",
                self.sqldb.max_open_connections.is_some(),
                BOUNDED,
            ),
            (
                "sqldb.connections_max_lifetime_seconds",
                self.sqldb.connections_max_lifetime_seconds.is_some(),
                BOUNDED,
            ),
        ];
        let written = all.into_iter().filter(|(_, is_written, _)| *is_written);
        written.map(|(key, _, reason)| (key.to_owned(), reason)).collect()
    }
}
