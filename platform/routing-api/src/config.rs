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

/// The name of the group that a deployment has from its first start.
const DEFAULT_GROUP: &str = "default-tcp";

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS. Every client must show a certificate of the CA of `identity`.
    #[setting(default = "127.0.0.1:3001")]
    pub listen: ListenAddr,
    /// The certificate that clients are shown, and the CA of theirs.
    pub identity: IdentityFiles,
    /// Where to serve the same without TLS, as the original does with `http_enabled`; absent: nowhere.
    pub plain: Option<ListenAddr>,
    /// Where a backup locks router groups, by HTTP without tokens: a loopback address; absent: nowhere.
    pub admin: Option<ListenAddr>,
    /// Where routes and router groups are kept: `sqlite:///path`, `postgres://user:password@host/name` or
    /// `mysql://user:password@host/name`.
    #[setting(default = "sqlite://routing-api.db")]
    #[serde(serialize_with = "without_password")]
    pub database: Secret<String>,
    /// File with the operator's token, which may do everything; empty: there is none.
    pub token_file: PathBuf,
    /// The UAA whose tokens are taken. `routing` is always among the audiences.
    pub uaa: RawUaa,
    /// Takes every request, whatever its token: only for closed networks.
    pub disable_access_control: bool,
    /// The HTTP route to `plain` that the routing API registers itself.
    pub own_route: RawOwnRoute,
    /// The longest time to live of a route, and that of a route that says none.
    #[setting(default = "120s", min = "1s", max = "24h")]
    pub max_ttl: Duration,
    /// The external ports of the router group `default-tcp`, which is made if there is no group; empty: it is not made.
    #[setting(default = "1024-1033")]
    pub default_tcp_ports: String,
    /// Further router groups that are made if there is none, by name.
    pub router_groups: BTreeMap<String, RawRouterGroup>,
    /// Ports that no router group may have, because components of the system listen there.
    pub reserved_system_component_ports: Vec<u16>,
    /// The lock that lets one of several instances serve.
    pub lock: RawLock,
    /// Bounds of what clients may use.
    pub limits: RawLimits,
}

/// The route to the routing API itself as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawOwnRoute {
    /// The host with its path, such as `api.example.com/routing`; empty: none is registered.
    pub route: String,
    /// The address at which routers reach `plain`.
    pub ip: String,
    /// The source id of the log lines of its requests.
    pub log_guid: String,
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
        let mut written = raw.router_groups.clone();
        if !raw.default_tcp_ports.is_empty() {
            written
                .entry(DEFAULT_GROUP.to_owned())
                .or_insert_with(|| RawRouterGroup {
                    reservable_ports: raw.default_tcp_ports.clone(),
                    ..RawRouterGroup::default()
                });
        }
        for (name, group) in &written {
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
        let is_local = raw.admin.is_none_or(|admin| admin.socket().ip().is_loopback());
        problems.require(
            is_local,
            "admin",
            raw.admin.map(|admin| admin.to_string()).unwrap_or_default(),
            "a loopback address",
        );
        let has_backend = raw.own_route.route.is_empty() || (raw.plain.is_some() && !raw.own_route.ip.is_empty());
        problems.require(
            has_backend,
            "own_route.route",
            &raw.own_route.route,
            "empty, unless `plain` and `own_route.ip` say where its backend is",
        );
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
        assert_eq!(
            (config.router_groups.len(), &*config.router_groups[0].name),
            (1, "default-tcp")
        );
        assert_eq!(config.router_groups[0].reservable_ports.0, "1024-1033");
        assert_eq!(config.max_ttl(), 120);
        let overlapping = RawRouterGroup {
            r#type: "tcp".to_owned(),
            reservable_ports: "2000-3000,2500".to_owned(),
        };
        let raw = RawConfig {
            database: Secret::new("oracle://me:hunter2@host/x".to_owned()),
            admin: Some("0.0.0.0:1".parse().unwrap()),
            own_route: RawOwnRoute {
                route: "api.example.com/routing".to_owned(),
                ..RawOwnRoute::default()
            },
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
        assert_eq!(
            keys,
            [
                "max_ttl",
                "database",
                "uaa.url",
                "router_groups.a",
                "admin",
                "own_route.route"
            ]
        );
        assert!(!problems.to_string().contains("hunter2"));
        assert!(
            problems
                .to_string()
                .contains("Overlapping values: [2000-3000] and 2500")
        );
        let none = RawConfig {
            default_tcp_ports: String::new(),
            ..RawConfig::default()
        };
        assert_eq!(Config::try_from(none).unwrap().router_groups, []);
    }

    /// The example that the program prints loads, and is the defaults.
    #[test]
    fn the_example_is_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("routing-api.toml");
        std::fs::write(&file, weir_config::example::<RawConfig>().unwrap()).unwrap();
        let loaded: RawConfig = weir_config::load("routing-api", Some(&file), [], &[]).unwrap();
        assert_eq!(format!("{loaded:?}"), format!("{:?}", RawConfig::default()));
    }
}
