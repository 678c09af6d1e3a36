//! The registrar's configuration.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_config::{Duration, ListenAddr, Problems, Setting};
use weir_nats_client::NatsSettings;
use weir_routing_api_client::{RawRoutingApi, RoutingApiSettings};
use weir_tls::IdentityFiles;

use crate::route::{Defaults, Kind, RawRoute, Route};

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS: the state of all routes, for `weir route` and for people.
    #[setting(default = "127.0.0.1:3462")]
    pub listen: ListenAddr,
    /// The registrar's certificate, for those who ask for the state of the routes.
    pub identity: IdentityFiles,
    /// Most connections at a time.
    #[setting(default = 64, min = 4, max = 10_000)]
    pub max_connections: usize,
    /// The host of routes that name none: the address at which routers reach the programs of this machine.
    pub host: String,
    /// The availability zone of this machine, which routers may prefer.
    pub availability_zone: String,
    /// How many unregistrations of a route are sent in a row while its program is not healthy.
    #[setting(default = 5, min = 1, max = 1_000_000)]
    pub unregistration_message_limit: u32,
    /// Files with more routes, as patterns: `/var/vcap/jobs/*/config/route_registrar/config.yml`.
    #[setting(allowed(
        "paths in which `*`, `?` and `[…]` stand for other characters",
        |patterns: &Vec<String>| patterns.iter().all(|pattern| glob::Pattern::new(pattern).is_ok())
    ))]
    pub dynamic_config_globs: Vec<String>,
    /// How often these files are looked for. What has not changed is not read again.
    #[setting(default = "10s", min = "20ms", max = "1h")]
    pub dynamic_config_interval: Duration,
    /// NATS, over which HTTP routes are registered; without it there are none.
    pub nats: Option<NatsSettings>,
    /// The routing API, at which TCP routes are registered.
    pub routing_api: RawRoutingApi,
    /// The longest time for which a TCP route is registered.
    #[setting(default = "2m", min = "1s", max = "24h")]
    pub max_ttl: Duration,
    /// The routes of this machine's programs.
    pub routes: Vec<RawRoute>,
}

/// A configuration whose values are in their ranges.
#[derive(Debug)]
pub struct Config {
    written: RawConfig,
    /// The routes of the configuration.
    pub(crate) fixed: Vec<Arc<Route>>,
    /// The routing API, if there is one.
    pub(crate) tcp: Option<RoutingApiSettings>,
}

impl Deref for Config {
    type Target = RawConfig;

    fn deref(&self) -> &RawConfig {
        &self.written
    }
}

impl RawConfig {
    /// What routes take from the configuration.
    pub(crate) fn defaults(&self) -> Defaults {
        Defaults {
            host: self.host.clone(),
        }
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = raw.problems();
        let defaults = raw.defaults();
        let mut fixed = Vec::with_capacity(raw.routes.len());
        for (index, route) in raw.routes.iter().enumerate() {
            match Route::new(route, &defaults) {
                Ok(route) => fixed.push(Arc::new(route)),
                Err(part) => problems.nest(&format!("routes[{index}]"), part),
            }
        }
        let is_http = |route: &Arc<Route>| matches!(route.kind, Kind::Http(_));
        if raw.nats.is_none() && fixed.iter().any(is_http) {
            problems.reject("nats", "must be set: HTTP routes are registered over it");
        }
        let mut part = Problems::default();
        let tcp = raw.routing_api.clone().validate(&mut part);
        problems.nest("routing_api", part);
        let is_tcp = |route: &Arc<Route>| matches!(route.kind, Kind::Tcp(_));
        if raw.routing_api.url.is_empty() && fixed.iter().any(is_tcp) {
            problems.reject("routing_api.url", "must be set: TCP routes are registered there");
        }
        problems.into_result(Self {
            written: raw,
            fixed,
            tcp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(raw: RawConfig) -> Vec<String> {
        let problems = Config::try_from(raw).unwrap_err();
        problems.iter().map(|problem| problem.key.clone()).collect()
    }

    /// The defaults are valid. HTTP routes need NATS, TCP routes the routing API, and everything that is wrong is said at once.
    #[test]
    fn defaults_and_problems() {
        assert!(Config::try_from(RawConfig::default()).unwrap().fixed.is_empty());
        let route = RawRoute {
            name: "a".to_owned(),
            host: "h".to_owned(),
            uris: vec!["a.b".to_owned()],
            port: Some(1),
            registration_interval: Some(Duration::from_secs(1)),
            ..RawRoute::default()
        };
        let raw = RawConfig {
            routes: vec![route.clone()],
            ..RawConfig::default()
        };
        assert_eq!(keys(raw), ["nats"]);
        let tcp = RawRoute {
            r#type: "tcp".to_owned(),
            router_group: "g".to_owned(),
            external_port: Some(1024),
            ..route.clone()
        };
        let raw = RawConfig {
            routes: vec![tcp],
            ..RawConfig::default()
        };
        assert_eq!(keys(raw), ["routing_api.url"]);
        let raw = RawConfig {
            unregistration_message_limit: 0,
            dynamic_config_globs: vec!["/a/[".to_owned()],
            routes: vec![RawRoute::default(), RawRoute { port: None, ..route }],
            ..RawConfig::default()
        };
        assert_eq!(
            keys(raw),
            [
                "unregistration_message_limit",
                "dynamic_config_globs",
                "routes[0].host",
                "routes[0].name",
                "routes[0].uris",
                "routes[0].port",
                "routes[0].registration_interval",
                "routes[1].port",
            ]
        );
    }
}
