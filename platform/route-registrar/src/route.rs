//! A route: the names or the port under which clients reach a program, and the address at which the program listens.

mod raw;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use weir_config::Problems;

pub use raw::{RawHealthCheck, RawOptions, RawRoute};

use crate::check::{Check, Probe};

/// What the routes of a file or a configuration share.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// The host of routes that name none.
    pub host: String,
}

/// A route that can be registered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// The name for people; it may be empty for a TCP route.
    pub name: String,
    /// The source in whose stream the requests are told; empty for no stream.
    pub app_id: String,
    /// The host of the program, as routers reach it.
    pub host: String,
    /// The labels that routers add to the telemetry of requests.
    pub tags: BTreeMap<String, String>,
    /// How often the route is registered.
    pub interval: Duration,
    /// Whether and how the program is asked before each registration.
    pub check: Option<Check>,
    /// The protocol, and what only routes of this protocol have.
    pub kind: Kind,
}

/// The protocols of routes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A route of the HTTP routers, registered over NATS.
    Http(HttpRoute),
    /// A route of the TCP routers, registered at the routing API.
    Tcp(TcpRoute),
}

/// What only HTTP routes have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HttpRoute {
    /// The names, each with a path or without: `api.example.com`, `api.example.com/v2`, `*.apps.example.com`.
    pub uris: Vec<String>,
    /// The port of the program without TLS.
    pub port: Option<u16>,
    /// The port of the program with TLS, which routers prefer.
    pub tls_port: Option<u16>,
    /// The name that the program's certificate must carry; empty for none.
    pub server_cert_domain_san: String,
    /// `http1`, `http2`, or empty for the router's default.
    pub protocol: String,
    /// The route service that sees the requests first; empty for none.
    pub route_service_url: String,
    /// How requests are spread over instances.
    pub options: RawOptions,
}

/// What only TCP routes have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TcpRoute {
    /// The name of the router group.
    pub router_group: String,
    /// The port of the TCP routers.
    pub external_port: u16,
    /// The port of the program.
    pub port: u16,
    /// The server name of TLS connections that are for this route; `None` for all connections.
    pub sni_hostname: Option<String>,
}

impl Route {
    /// Checks a route as it was written.
    ///
    /// # Errors
    /// Everything that is wrong with it, by key.
    pub fn new(raw: &RawRoute, defaults: &Defaults) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let host = match raw.host.is_empty() {
            true => defaults.host.clone(),
            false => raw.host.clone(),
        };
        if host.is_empty() {
            problems.reject("host", "must be set, here or for all routes");
        }
        let kind = raw.kind(&mut problems);
        let interval = raw.registration_interval.map(|interval| interval.get());
        let interval = interval.filter(|interval| !interval.is_zero()).unwrap_or_else(|| {
            problems.reject("registration_interval", "must be a time such as `20s`");
            Duration::ZERO
        });
        let mut part = Problems::default();
        let port = kind.as_ref().and_then(Kind::plain_port);
        let check = raw
            .health_check
            .as_ref()
            .and_then(|check| check.check(interval, &host, port, &mut part));
        problems.nest("health_check", part);
        // Without a kind there are problems, so this route is never used.
        let kind = kind.unwrap_or(Kind::Http(HttpRoute::default()));
        problems.into_result(Self {
            name: raw.name.clone(),
            app_id: raw.app_id.clone(),
            host,
            tags: raw.tags.clone(),
            interval,
            check,
            kind,
        })
    }

    /// What routers identify registrations by: each external name or port with the program behind it.
    pub(crate) fn registrations(&self) -> impl Iterator<Item = Registration> + '_ {
        let uris: &[String] = match &self.kind {
            Kind::Http(route) => &route.uris,
            Kind::Tcp(_) => &[],
        };
        let tcp = match &self.kind {
            Kind::Http(_) => None,
            Kind::Tcp(route) => Some(Registration::Tcp(self.host.clone(), route.clone())),
        };
        uris.iter().map(|uri| self.registration(uri)).chain(tcp)
    }

    fn registration(&self, uri: &str) -> Registration {
        let port = match &self.kind {
            Kind::Http(route) => route.tls_port.or(route.port).unwrap_or_default(),
            Kind::Tcp(route) => route.port,
        };
        Registration::Http(uri.to_ascii_lowercase(), self.host.clone(), port)
    }

    /// The part of this route that is not among `others`; `None` if nothing is left.
    pub(crate) fn without(&self, others: &HashSet<Registration>) -> Option<Self> {
        let mut part = self.clone();
        if let Kind::Http(route) = &mut part.kind {
            route.uris.retain(|uri| !others.contains(&self.registration(uri)));
        }
        let is_left = part.registrations().any(|one| !others.contains(&one));
        is_left.then_some(part)
    }
}

/// One external name or port with the program behind it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Registration {
    /// A name in lower case, the host and the port of the program.
    Http(String, String, u16),
    /// The host of the program, and the ports.
    Tcp(String, TcpRoute),
}

impl Kind {
    /// The port of the program on which it speaks without TLS.
    const fn plain_port(&self) -> Option<u16> {
        match self {
            Self::Http(route) => route.port,
            Self::Tcp(route) => Some(route.port),
        }
    }
}

impl RawRoute {
    fn kind(&self, problems: &mut Problems) -> Option<Kind> {
        match self.r#type.as_str() {
            "tcp" => self.tcp("port", self.port, &self.server_cert_domain_san, problems),
            "sni" => self.tcp("sni_port", self.sni_port, &self.sni_routable_san, problems),
            // The original takes every other type as HTTP.
            "" | "http" => self.http(problems),
            other => {
                problems.require(false, "type", other, "empty, `tcp` or `sni`");
                None
            }
        }
    }

    fn http(&self, problems: &mut Problems) -> Option<Kind> {
        if self.name.is_empty() {
            problems.reject("name", "must be set");
        }
        if self.uris.is_empty() || self.uris.iter().any(String::is_empty) {
            problems.reject("uris", "must be at least one name, and no empty one");
        }
        if self.port.is_none() && self.tls_port.is_none() {
            problems.reject("port", "must be set, or `tls_port`");
        }
        for (key, port) in [("port", self.port), ("tls_port", self.tls_port)] {
            problems.require(port != Some(0), key, 0, "1 to 65535");
        }
        let url = &self.route_service_url;
        let is_url = url.is_empty() || url::Url::parse(url).is_ok_and(|url| url.scheme() == "https");
        problems.require(is_url, "route_service_url", url, "a URL that begins with `https://`");
        let protocol = &self.protocol;
        let is_known = matches!(protocol.as_str(), "" | "http1" | "http2");
        problems.require(is_known, "protocol", protocol, "`http1` or `http2`");
        let options = self.options.clone().unwrap_or_default();
        options.check(problems);
        Some(Kind::Http(HttpRoute {
            uris: self.uris.clone(),
            port: self.port,
            tls_port: self.tls_port,
            server_cert_domain_san: self.server_cert_domain_san.clone(),
            protocol: protocol.clone(),
            route_service_url: url.clone(),
            options,
        }))
    }

    fn tcp(&self, key: &str, port: Option<u16>, name: &str, problems: &mut Problems) -> Option<Kind> {
        if self.router_group.is_empty() {
            problems.reject("router_group", "must be set");
        }
        let mut positive = |key: &str, port: Option<u16>| {
            let port = port.filter(|port| *port > 0);
            problems.required(port, key)
        };
        // The original takes routes without these ports, and panics when it registers them.
        let (port, external_port) = (positive(key, port), positive("external_port", self.external_port));
        Some(Kind::Tcp(TcpRoute {
            router_group: self.router_group.clone(),
            external_port: external_port?,
            port: port?,
            sni_hostname: (!name.is_empty()).then(|| name.to_owned()),
        }))
    }
}

impl RawOptions {
    fn check(&self, problems: &mut Problems) {
        let Self {
            loadbalancing,
            hash_header,
            hash_balance,
        } = self;
        let is_hash = loadbalancing == "hash";
        let is_known = is_hash || matches!(loadbalancing.as_str(), "" | "round-robin" | "least-connection");
        let allowed = "`round-robin`, `least-connection` or `hash`";
        problems.require(is_known, "options.loadbalancing", loadbalancing, allowed);
        if is_hash && hash_header.is_empty() {
            problems.reject("options.hash_header", "must be set for `hash`");
        }
        let is_balance = hash_balance.is_empty() || self.balance().is_some();
        problems.require(is_balance, "options.hash_balance", hash_balance, "0, or 1.1 to 10");
    }

    /// The value of `hash_balance`, if it is allowed.
    pub(crate) fn balance(&self) -> Option<f64> {
        let balance: f64 = self.hash_balance.parse().ok()?;
        (balance == 0.0 || (1.1..=10.0).contains(&balance)).then_some(balance)
    }
}

impl RawHealthCheck {
    fn check(&self, interval: Duration, host: &str, port: Option<u16>, problems: &mut Problems) -> Option<Check> {
        let timeout = self.timeout.map_or(interval / 2, |timeout| timeout.get());
        let fits = !timeout.is_zero() && timeout < interval;
        if !fits && !interval.is_zero() {
            let allowed = "above zero, and less than the `registration_interval`";
            problems.require(false, "timeout", weir_config::Duration::from(timeout), allowed);
        }
        let probe = match (self.script_path.as_str(), self.path.as_str()) {
            ("", "") => {
                problems.reject("script_path", "must be set, or `path`");
                None
            }
            (script, "") => {
                if self.name.is_empty() {
                    problems.reject("name", "must be set");
                }
                Some(Probe::Script(script.to_owned()))
            }
            ("", path) => {
                let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
                problems.require(is_path, "path", path, "a path that begins with `/`");
                let port = port.or_else(|| {
                    problems.reject("path", "needs `port`: it is asked without TLS");
                    None
                });
                Some(Probe::Http {
                    host: host.to_owned(),
                    port: port?,
                    path: path.to_owned(),
                })
            }
            _ => {
                problems.reject("path", "must not be set beside `script_path`");
                None
            }
        };
        Some(Check { probe: probe?, timeout })
    }
}

#[cfg(test)]
mod tests;
