//! The configuration.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_auth::{RawUaa, UaaConfig};
use weir_config::{Duration, ListenAddr, Problems, Secret, Setting};
use weir_db::DatabaseUrl;
use weir_net::{HeldBytes, PortLimits, RawPortLimits};
use weir_routing_api_client::models::{ReservablePorts, RouterGroup, RouterGroupType};
use weir_tls::IdentityFiles;

/// What tokens of the routing API are meant for, beside what `uaa.audiences` says.
const AUDIENCE: &str = "routing";

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS. Every client must show a certificate of the CA of `identity`.
    #[setting(default = "127.0.0.1:3001")]
    pub listen: ListenAddr,
    /// The certificate that clients are shown, and the CA of theirs.
    pub identity: IdentityFiles,
    /// Where routes and router groups are kept: `sqlite:///path`, `postgres://user:password@host/name` or
    /// `mysql://user:password@host/name`.
    #[setting(default = "sqlite://routing-api.db")]
    #[serde(serialize_with = "without_password")]
    pub database: Secret<String>,
    /// File with the operator's token, which may do everything; empty: there is none.
    pub token_file: PathBuf,
    /// The UAA whose tokens are taken. `routing` is always among the audiences.
    pub uaa: RawUaa,
    /// The longest time to live of a route, and that of a route that says none.
    #[setting(default = "120s", min = "1s", max = "24h")]
    pub max_ttl: Duration,
    /// The router groups that are made if there is none, by name.
    #[setting(default = default_groups())]
    pub router_groups: BTreeMap<String, RawRouterGroup>,
    /// Ports that no router group may have, because components of the system listen there.
    pub reserved_system_component_ports: Vec<u16>,
    /// The lock that lets one of several instances serve.
    pub lock: RawLock,
    /// Bounds of what clients may use.
    pub limits: RawLimits,
}

/// A router group as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawRouterGroup {
    /// The protocol of its routes: `tcp` or `http`.
    #[setting(default = "tcp")]
    pub r#type: String,
    /// The external ports of its routes, such as `1024-1033,2000`; empty for `http`.
    pub reservable_ports: String,
}

/// The lock as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawLock {
    /// The name of this instance, another one for each instance. An instance that starts takes a lock of its own name at once.
    #[setting(default = "routing-api", allowed("1 to 255 bytes", |name| (1..=255).contains(&name.len())))]
    pub instance: String,
    /// How long the holder of the lock may be silent before another instance takes it.
    #[setting(default = "15s", min = "1s", max = "10m")]
    pub ttl: Duration,
    /// How often an instance that waits looks at the lock.
    #[setting(default = "1s", min = "10ms", max = "1m")]
    pub retry: Duration,
    /// How long an instance that stops serves on while no other one has the lock that it gave up.
    #[setting(max = "5m")]
    pub handover: Duration,
}

/// Bounds as they are written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Most connections; beyond them the longest idle one of the address that holds most is closed, or the new one.
    #[setting(default = RawPortLimits::default().connections, min = 1, max = 100_000)]
    pub connections: usize,
    /// Most connections of one IPv4 address or IPv6 /64; 0: half of `connections`.
    #[setting(max = self.connections)]
    pub connections_per_address: usize,
    /// Most subscriptions to events; further ones are answered with 503.
    #[setting(default = 512, min = 1, max = 100_000)]
    pub subscriptions: usize,
    /// Most subscriptions of one user or client; further ones are answered with 429.
    #[setting(default = 256, min = 1, max = 100_000)]
    pub subscriptions_per_caller: usize,
}

/// A configuration whose values are in their ranges.
#[derive(Debug, Clone)]
pub struct Config {
    written: RawConfig,
    pub(crate) database: DatabaseUrl,
    pub(crate) uaa: Option<UaaConfig>,
    pub(crate) port: PortLimits,
    /// The router groups that are made if there is none, without guids.
    pub(crate) router_groups: Vec<RouterGroup>,
}

impl Deref for Config {
    type Target = RawConfig;

    fn deref(&self) -> &RawConfig {
        &self.written
    }
}

impl Config {
    /// The longest time to live of a route, in seconds.
    pub(crate) fn max_ttl(&self) -> i64 {
        i64::try_from(self.written.max_ttl.get().as_secs()).unwrap_or(i64::MAX)
    }
}

/// The group that a deployment has from its first start, with the ports of the contract.
fn default_groups() -> BTreeMap<String, RawRouterGroup> {
    let tcp = RawRouterGroup {
        r#type: "tcp".to_owned(),
        reservable_ports: "1024-1033".to_owned(),
    };
    BTreeMap::from([("default-tcp".to_owned(), tcp)])
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = raw.problems();
        let database = raw.database.expose().parse::<DatabaseUrl>().map_err(|error| {
            let hint = weir_error::Classify::hint(&error).unwrap_or_default();
            format!("{error}; {hint}")
        });
        let database = problems.accept("database", database);
        let mut of_uaa = Problems::default();
        let uaa = raw.uaa.clone().validate(&mut of_uaa).map(|mut uaa| {
            uaa.audiences.push(AUDIENCE.to_owned());
            uaa
        });
        problems.nest("uaa", of_uaa);
        let mut router_groups = Vec::new();
        for (name, group) in &raw.router_groups {
            let group = RouterGroup {
                guid: String::new(),
                name: name.clone(),
                kind: RouterGroupType(group.r#type.clone()),
                reservable_ports: ReservablePorts(group.reservable_ports.clone()),
            };
            let valid = group.validate(&raw.reserved_system_component_ports);
            let key = format!("router_groups.{name}");
            if problems
                .accept(&key, valid.map_err(|error| error.to_string()))
                .is_some()
            {
                router_groups.push(group);
            }
        }
        let limits = RawPortLimits {
            connections: raw.limits.connections,
            connections_per_address: raw.limits.connections_per_address,
            ..RawPortLimits::default()
        };
        problems.into_result_with(|| {
            Some(Self {
                database: database?,
                uaa,
                port: PortLimits {
                    held: HeldBytes::LARGE,
                    ..limits.limits()
                },
                router_groups,
                written: raw,
            })
        })
    }
}

/// Shows the database without its password.
fn without_password<S: serde::Serializer>(url: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    match url.expose().parse::<DatabaseUrl>() {
        Ok(shown) => serializer.collect_str(&shown),
        Err(_) => url.serialize(serializer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid and have the contract's group; all that is wrong is said at once, without the secrets.
    #[test]
    fn defaults_and_problems() {
        let config = Config::try_from(RawConfig::default()).unwrap();
        assert_eq!(config.router_groups[0].name, "default-tcp");
        assert_eq!(config.router_groups[0].reservable_ports.0, "1024-1033");
        assert_eq!(config.max_ttl(), 120);
        let overlapping = RawRouterGroup {
            r#type: "tcp".to_owned(),
            reservable_ports: "2000-3000,2500".to_owned(),
        };
        let raw = RawConfig {
            database: Secret::new("oracle://me:hunter2@host/x".to_owned()),
            max_ttl: Duration::from_millis(1),
            router_groups: BTreeMap::from([("a".to_owned(), overlapping)]),
            uaa: RawUaa {
                url: "http://uaa".to_owned(),
                ca: "ca.pem".into(),
                ..RawUaa::default()
            },
            ..RawConfig::default()
        };
        let problems = Config::try_from(raw).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["max_ttl", "database", "uaa.url", "router_groups.a"]);
        assert!(!problems.to_string().contains("hunter2"));
        assert!(
            problems
                .to_string()
                .contains("Overlapping values: [2000-3000] and 2500")
        );
    }
}
