//! The TCP router's configuration.

use std::net::IpAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_config::{Duration, ListenAddr, PeerAddr, Problems, Setting, Shape};
use weir_net::ProxyVersion;
use weir_routing_api_client::{RawRoutingApi, RoutingApiSettings};
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where `GET /health` is answered over HTTP: 200, or 503 while the router has no routes yet or is about to stop.
    #[setting(default = "127.0.0.1:8091")]
    pub health: ListenAddr,
    /// The IP address on which external ports are opened; `0.0.0.0`: all interfaces.
    #[setting(default = "0.0.0.0", allowed("an IP address", |host| host.parse::<IpAddr>().is_ok()))]
    pub external_address: String,
    /// The name of the router group whose routes are served; empty: those of all groups.
    pub router_group: String,
    /// The isolation segments whose routes are served, an empty one for routes without a segment; no entry: all routes.
    pub isolation_segments: Vec<String>,
    /// Ports that are never opened, because other parts of the platform listen there.
    pub reserved_ports: Vec<u16>,
    /// The routing API whose routes are served.
    pub routing_api: RawRoutingApi,
    /// Where connections are told.
    pub telemetry: RawTelemetry,
    /// TLS towards backends.
    pub backend_tls: RawBackendTls,
    /// The PROXY protocol.
    pub proxy_protocol: RawProxyProtocol,
    /// Bounds of what connections may use.
    pub limits: RawLimits,
    /// How long things may take.
    pub timeouts: RawTimeouts,
    /// How old routes may be.
    pub routes: RawRoutes,
}

/// Telemetry as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawTelemetry {
    /// The agent on this machine that is sent a timer for each connection, `host:port`; without it none is sent.
    pub agent: Option<PeerAddr>,
    /// The name that the agent's certificate must carry.
    #[setting(default = "metron", allowed("the name in the agent's certificate", |name| !name.is_empty()))]
    pub agent_name: String,
    /// The certificate that the agent is shown, and the CA that its own must come from.
    pub identity: IdentityFiles,
    /// The index of this router among all: the instance id of its timers.
    #[setting(default = "0")]
    pub index: String,
}

/// TLS towards backends as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawBackendTls {
    /// PEM file of the CA that the certificates of backends with TLS must come from; empty: routes to such backends are not
    /// served.
    pub ca: PathBuf,
    /// PEM file of the certificate that backends are shown; empty: none is shown.
    pub cert: PathBuf,
    /// PEM file of the key of that certificate.
    pub key: PathBuf,
}

impl RawBackendTls {
    /// Whether backends may have TLS.
    pub(crate) fn is_enabled(&self) -> bool {
        is_given(&self.ca)
    }

    /// The files of the certificate that backends are shown.
    pub(crate) fn identity(&self) -> Option<IdentityFiles> {
        is_given(&self.cert).then(|| IdentityFiles {
            ca: self.ca.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
        })
    }
}

/// The PROXY protocol as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawProxyProtocol {
    /// Whether connections begin with a PROXY header, version 1 or 2, as a load balancer sends it. A header is believed, so only
    /// the load balancer may reach the external ports.
    #[setting(default = AcceptProxy::Off)]
    pub accept: AcceptProxy,
    /// The version of the PROXY header that backends are sent.
    #[setting(default = SendProxy::Off)]
    pub send: SendProxy,
}

/// Whether connections begin with a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceptProxy {
    /// They do not: what looks like one is for the backend.
    Off,
    /// They may.
    Optional,
    /// A connection without one is closed.
    Required,
}

impl Setting for AcceptProxy {
    fn shape() -> Shape {
        Shape::Value("`off`, `optional` or `required`")
    }
}

/// The PROXY header that backends are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SendProxy {
    /// None.
    Off,
    /// The one of version 1, a line of text.
    V1,
    /// The one of version 2, which is binary.
    V2,
}

impl Setting for SendProxy {
    fn shape() -> Shape {
        Shape::Value("`off`, `v1` or `v2`")
    }
}

impl SendProxy {
    /// The version, if a header is sent.
    pub(crate) const fn version(self) -> Option<ProxyVersion> {
        match self {
            Self::Off => None,
            Self::V1 => Some(ProxyVersion::V1),
            Self::V2 => Some(ProxyVersion::V2),
        }
    }
}

/// Bounds as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Most connections on all external ports together; further ones are closed.
    #[setting(default = 64_000, min = 1, max = 1_000_000)]
    pub connections: usize,
    /// Most connections of one IPv4 address or IPv6 /64; 0: half of `connections`. Behind a load balancer all clients have its
    /// address: set it to `connections` there.
    #[setting(max = self.connections)]
    pub connections_per_address: usize,
    /// Most pipes that large streams are moved through without being copied; a pipe takes two file descriptors and holds up to
    /// 256 KiB. A stream that finds no pipe is copied.
    #[setting(default = 128, max = 10_000)]
    pub pipes: usize,
}

/// Times as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawTimeouts {
    /// How long a backend may take to accept a connection, with its TLS handshake; then the next one is tried.
    #[setting(default = "30s", min = "10ms", max = "1h")]
    pub connect: Duration,
    /// How long nothing may be carried on a connection before it is closed.
    #[setting(default = "300s", min = "10ms", max = "24h")]
    pub idle: Duration,
    /// How long a client may take to say the name of the server it wants, or its PROXY header.
    #[setting(default = "5s", min = "10ms", max = "1h")]
    pub client_hello: Duration,
    /// How long the router still accepts connections after it was asked to stop, while `/health` answers 503.
    #[setting(default = "20s", max = "24h")]
    pub drain_wait: Duration,
    /// How long connections are still carried after that; then they are cut.
    #[setting(default = "5s", max = "24h")]
    pub drain: Duration,
}

/// The age of routes as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawRoutes {
    /// How often all routes are read from the routing API, beside its events.
    #[setting(default = "60s", min = "10ms", max = "24h")]
    pub sync: Duration,
    /// How long the router waits before it asks a routing API again that did not answer.
    #[setting(default = "5s", min = "10ms", max = "1h")]
    pub retry: Duration,
    /// How often routes are looked through for those whose time is over.
    #[setting(default = "30s", min = "10ms", max = "24h")]
    pub prune: Duration,
    /// How long a route is served that does not say so itself.
    #[setting(default = "120s", min = "1s", max = "18h")]
    pub ttl: Duration,
}

/// A configuration whose values are in their ranges.
#[derive(Debug, Clone)]
pub struct Config {
    written: RawConfig,
    /// The address on which external ports are opened.
    pub(crate) host: IpAddr,
    /// The routing API; `None`: there are no routes.
    pub(crate) api: Option<RoutingApiSettings>,
}

impl Deref for Config {
    type Target = RawConfig;

    fn deref(&self) -> &RawConfig {
        &self.written
    }
}

impl Config {
    /// Most connections of one peer network.
    pub(crate) fn connections_per_address(&self) -> usize {
        match self.limits.connections_per_address {
            0 => self.limits.connections.div_ceil(2),
            most => most,
        }
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = raw.problems();
        let mut of_api = Problems::default();
        let api = raw.routing_api.clone().validate(&mut of_api);
        problems.nest("routing_api", of_api);
        let RawBackendTls { ca, cert, key } = &raw.backend_tls;
        let pair = is_given(cert) == is_given(key);
        problems.require(
            pair,
            "backend_tls.key",
            key.display(),
            "given together with `backend_tls.cert`",
        );
        let verified = is_given(ca) || !is_given(cert);
        problems.require(
            verified,
            "backend_tls.ca",
            "",
            "the CA of backends' certificates, if `backend_tls.cert` is given",
        );
        // Where it is no address, that is among the problems.
        let host = raw.external_address.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]));
        problems.into_result(Self {
            written: raw,
            host,
            api,
        })
    }
}

fn is_given(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid and those of the original, and all that is wrong is said at once.
    #[test]
    fn defaults_and_problems() {
        let config = Config::try_from(RawConfig::default()).unwrap();
        assert!(config.api.is_none() && !config.backend_tls.is_enabled());
        assert_eq!(config.connections_per_address(), 32_000);
        assert_eq!(config.timeouts.idle, Duration::from_secs(300));
        let raw = RawConfig {
            external_address: "router".to_owned(),
            routing_api: RawRoutingApi {
                url: "routing-api".to_owned(),
                uaa_url: "https://uaa:8443".to_owned(),
                client_secret_file: "secrets".into(),
                ..RawRoutingApi::default()
            },
            backend_tls: RawBackendTls {
                cert: "cert".into(),
                ..RawBackendTls::default()
            },
            limits: RawLimits {
                connections: 1,
                connections_per_address: 2,
                ..RawLimits::default()
            },
            ..RawConfig::default()
        };
        let problems = Config::try_from(raw).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "external_address",
                "limits.connections_per_address",
                "routing_api.url",
                "backend_tls.key",
                "backend_tls.ca"
            ]
        );
    }
}
