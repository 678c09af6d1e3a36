//! A route as it is written, in the configuration, in a job's file or in `routes.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_config::{Duration, Setting};

/// A route as it is written. `app_id` and the `path` of a health check are ours; all other keys are the original's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawRoute {
    /// The kind of route: empty for HTTP, `tcp`, or `sni` for TLS connections that are told apart by their server name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub r#type: String,
    /// The name of the route, for people.
    pub name: String,
    /// The host of the program, as routers reach it; without it, the `host` of all routes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The port of the program without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port of the program with TLS, which routers prefer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_port: Option<u16>,
    /// The port of the program, of an `sni` route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni_port: Option<u16>,
    /// The protocol that routers speak with the program: `http1` or `http2`; without it, the router's default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// The names of an HTTP route, each with a path or without: `api.example.com`, `api.example.com/v2`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uris: Vec<String>,
    /// The name of the router group of a TCP route.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub router_group: String,
    /// The port of the TCP routers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_port: Option<u16>,
    /// The route service that sees the requests first, an `https` URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route_service_url: String,
    /// How often the route is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_interval: Option<Duration>,
    /// The name that the program's certificate must carry, if it has a `tls_port`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_cert_domain_san: String,
    /// The server name of the TLS connections of an `sni` route.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sni_routable_san: String,
    /// The source in whose stream the requests are told; without it they are told in none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_id: String,
    /// Labels that routers add to the telemetry of requests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Whether and how the program is asked before each registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<RawHealthCheck>,
    /// Options of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<RawOptions>,
}

/// How the program of a route is asked whether it is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawHealthCheck {
    /// The name of the check, for people.
    pub name: String,
    /// A command that a shell runs; the program is healthy if its exit status is 0.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub script_path: String,
    /// A path that the program is asked for over HTTP; it is healthy if its status is 200 to 299.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// How long the check may take; without it, half of the `registration_interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// Options of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawOptions {
    /// How requests are spread over instances: `round-robin`, `least-connection` or `hash`; without it, the router's default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub loadbalancing: String,
    /// The header whose value chooses the instance, for `hash`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash_header: String,
    /// How many times the mean number of requests one instance may have before another one is chosen, for `hash`: `0` for any
    /// number, or `1.1` to `10`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash_balance: String,
}
