//! What a registration says of an endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

/// The tags of an endpoint that has none.
static NO_TAGS: BTreeMap<String, String> = BTreeMap::new();

/// One endpoint of a route, as a message of NATS or of the routing API registers it. Empty text means: not said.
#[derive(Debug, Clone, Copy)]
pub struct Registration<'a> {
    /// The IP address or name of the endpoint, without its port.
    pub host: &'a str,
    /// The port of the endpoint.
    pub port: u16,
    /// Whether the endpoint serves TLS at its port.
    pub tls: bool,
    /// The protocol that the endpoint speaks.
    pub protocol: Protocol,
    /// The id of the app that the endpoint is an instance of.
    pub app_id: &'a str,
    /// The id of the instance, by which sticky sessions find it.
    pub instance_id: &'a str,
    /// The index of the instance.
    pub instance_index: &'a str,
    /// The name that the endpoint's certificate must carry.
    pub server_cert_domain_san: &'a str,
    /// The isolation segment of the endpoint.
    pub isolation_segment: &'a str,
    /// The availability zone of the endpoint.
    pub availability_zone: &'a str,
    /// The tags that logs and metrics of the endpoint's requests carry.
    pub tags: &'a BTreeMap<String, String>,
    /// How long the endpoint stays without another registration; zero, or more than the table's own time: as the table's
    /// settings say.
    pub stale_threshold: Duration,
    /// The URL of the route service that requests pass first.
    pub route_service_url: &'a str,
    /// The version of the registration.
    pub modification_tag: ModificationTag<'a>,
    /// When the endpoint became what the registration says, in nanoseconds since the Unix epoch; 0: unknown.
    pub updated_at_ns: i64,
    /// How endpoints of the route are chosen; `None`: as the table's settings say.
    pub balancing: Option<Balancing>,
    /// The header whose value chooses the endpoint, for [`Balancing::Hash`].
    pub hash_header: &'a str,
    /// How many times the mean number of requests in flight an endpoint may have before another one is chosen, for
    /// [`Balancing::Hash`]; 0: any number.
    pub hash_balance: f64,
    /// Who may be a caller of the route at most: `any`, `org` or `space`. Empty: callers are not asked who they are.
    pub policy_scope: &'a str,
    /// The callers that the route allows, with commas between them.
    pub policy_sources: &'a str,
}

/// The version of a registration. Two versions compare only if both have a guid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModificationTag<'a> {
    /// What the index counts in; empty: the registration has no version.
    pub guid: &'a str,
    /// How many times the registration has changed.
    pub index: u32,
}

/// The protocol that an endpoint speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

/// How the endpoint of a request is chosen among those of its route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balancing {
    /// One endpoint after the other.
    #[default]
    RoundRobin,
    /// The endpoint with the fewest requests in flight.
    LeastConnection,
    /// The endpoint that the value of a header leads to.
    Hash,
}

/// Why a registration was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegistration {
    /// The route has no host name.
    #[error("route has no host name")]
    NoHost,
    /// The host name of the route is longer than 255 bytes.
    #[error("host name of the route is longer than 255 bytes")]
    HostTooLong,
    /// The path of the route is longer than 4096 bytes.
    #[error("path of the route is longer than 4096 bytes")]
    PathTooLong,
    /// The texts or the tags of the endpoint have more than 64 KiB.
    #[error("texts or tags of the endpoint are longer than 64 KiB")]
    TextTooLong,
}

impl<'a> Registration<'a> {
    /// An endpoint without TLS of which only the address is known.
    #[must_use]
    pub fn plain(host: &'a str, port: u16) -> Self {
        Self {
            host,
            port,
            tls: false,
            protocol: Protocol::Http1,
            app_id: "",
            instance_id: "",
            instance_index: "",
            server_cert_domain_san: "",
            isolation_segment: "",
            availability_zone: "",
            tags: &NO_TAGS,
            stale_threshold: Duration::ZERO,
            route_service_url: "",
            modification_tag: ModificationTag::default(),
            updated_at_ns: 0,
            balancing: None,
            hash_header: "",
            hash_balance: 0.0,
            policy_scope: "",
            policy_sources: "",
        }
    }
}

impl ModificationTag<'_> {
    /// Whether `newer` may replace what has this tag: one of them has no version, they count differently, or `newer` has a
    /// higher index.
    pub(crate) fn succeeded_by(&self, newer: &ModificationTag<'_>) -> bool {
        self.guid.is_empty() || newer.guid.is_empty() || self.guid != newer.guid || self.index < newer.index
    }
}

impl Protocol {
    /// The name in messages and in answers of the router.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

impl Balancing {
    /// The algorithm of this name; `None` if there is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "round-robin" => Some(Self::RoundRobin),
            "least-connection" => Some(Self::LeastConnection),
            "hash" => Some(Self::Hash),
            _ => None,
        }
    }

    /// The name in configuration and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnection => "least-connection",
            Self::Hash => "hash",
        }
    }
}
