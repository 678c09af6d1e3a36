//! The configuration as operators write it.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Duration, ListenAddr, PeerAddr, Secret, Setting};
use weir_nats_client::NatsSettings;
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTP without TLS; absent: nowhere.
    pub listen: Option<ListenAddr>,
    /// Where to serve HTTP over TLS; absent: nowhere.
    pub listen_tls: Option<ListenAddr>,
    /// Certificates for clients. The one whose names fit the name that a client asks for is shown, otherwise the first.
    pub certificates: Vec<RawCertificate>,
    /// What clients are asked for: `none`, `request` (a certificate that is shown must be of `client_ca`) or `require`.
    #[setting(
        default = "none",
        allowed("`none`, `request` or `require`", |name| matches!(name.as_str(), "none" | "request" | "require"))
    )]
    pub client_certificates: String,
    /// PEM file of the CAs of clients' certificates.
    pub client_ca: PathBuf,
    /// Where load balancers ask for the router's health, without TLS; absent: nowhere.
    pub status: Option<ListenAddr>,
    /// Where operators ask for the routes; absent: nowhere. Not for networks: it has no TLS.
    pub routes: Option<ListenAddr>,
    /// The user that may ask for the routes.
    pub routes_user: String,
    /// The password of that user.
    pub routes_password: Secret<String>,
    /// The router's certificate for backends and for the agent, and the CA of both; absent: there is no agent, and backends
    /// are met as `backend_tls` says.
    pub identity: Option<IdentityFiles>,
    /// TLS towards backends that are not of the router's own stack.
    pub backend_tls: RawBackendTls,
    /// The NATS over which routes are registered.
    pub nats: NatsSettings,
    /// The address that `X-Vcap-Router` tells.
    #[setting(default = "127.0.0.1", allowed("an IP address", |address| address.parse::<IpAddr>().is_ok()))]
    pub address: String,
    /// The number of this router among those of its deployment.
    pub index: u32,
    /// The availability zone of this router.
    pub zone: String,
    /// How routes are kept.
    pub table: RawTable,
    /// How backends are used.
    pub backends: RawBackends,
    /// How headers are changed.
    pub headers: RawHeaders,
    /// How route services are used.
    pub route_services: RawRouteServices,
    /// What is told of requests.
    pub telemetry: RawTelemetry,
    /// What clients may use.
    pub limits: RawLimits,
    /// How long things may take.
    pub timeouts: RawTimeouts,
}

/// A certificate for clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields)]
pub struct RawCertificate {
    /// PEM file of the certificate.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

/// TLS towards backends without a common CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawBackendTls {
    /// PEM file of CAs that backends' certificates may come from, beside the system's.
    pub ca: Option<PathBuf>,
    /// The router's certificate for backends.
    pub certificate: Option<RawCertificate>,
    /// Whether any certificate of a backend will do.
    pub skip_verification: bool,
}

/// How routes are kept.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawTable {
    /// How long a backend without TLS keeps its route after its last registration.
    #[setting(default = "120s", min = "1s", max = "24h")]
    pub stale_threshold: Duration,
    /// How often routes that are stale are looked for.
    #[setting(default = "30s", min = "10ms", max = "24h")]
    pub prune_interval: Duration,
    /// How often backends are asked to register.
    #[setting(default = "20s", min = "1s", max = "24h")]
    pub register_interval: Duration,
    /// Whether routes stay while NATS is away.
    #[setting(default = true)]
    pub keep_without_nats: bool,
    /// How long the ports wait at the start for routes to come.
    #[setting(default = "0s", max = "1h")]
    pub start_delay: Duration,
    /// How a backend is chosen where a route does not say: `round-robin` or `least-connection`.
    #[setting(
        default = "round-robin",
        allowed("`round-robin` or `least-connection`", |name| matches!(name.as_str(), "round-robin" | "least-connection"))
    )]
    pub balancing: String,
    /// Whether backends of the router's own zone come first: `none` or `locally-optimistic`.
    #[setting(
        default = "none",
        allowed("`none` or `locally-optimistic`", |name| matches!(name.as_str(), "none" | "locally-optimistic"))
    )]
    pub zone_preference: String,
    /// Whose routes are kept: `all`, `segments` or `shared-and-segments`.
    #[setting(
        default = "all",
        allowed(
            "`all`, `segments` or `shared-and-segments`",
            |name| matches!(name.as_str(), "all" | "segments" | "shared-and-segments")
        )
    )]
    pub sharding: String,
    /// The isolation segments of this router.
    pub isolation_segments: Vec<String>,
    /// Whether a route without backends is answered with 503; otherwise with 404.
    #[setting(default = true)]
    pub empty_is_unavailable: bool,
    /// How long a route is known after its last backend has gone.
    #[setting(default = "0s", max = "24h")]
    pub empty_timeout: Duration,
}

/// How backends are used.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawBackends {
    /// Most requests that one backend has at a time; 0: any number.
    #[setting(default = 500u32)]
    pub max_conns: u32,
    /// How often a request is tried.
    #[setting(default = 3u32, min = 1, max = 100)]
    pub max_attempts: u32,
    /// Whether connections are kept for other requests.
    #[setting(default = true)]
    pub keep_alive: bool,
    /// Most idle connections.
    #[setting(default = 100usize, max = 100_000)]
    pub max_idle: usize,
    /// Most idle connections to one backend.
    #[setting(default = 100usize, max = 100_000)]
    pub max_idle_per_backend: usize,
    /// Bytes from which on the head of an answer is refused; 0: 1 MiB.
    #[setting(default = "0B", max = "16MiB")]
    pub max_answer_head: ByteSize,
    /// Most header lines of an answer; 0: any number.
    pub max_answer_headers: usize,
    /// Whether HTTP/2 is spoken, by clients and to backends that have it.
    #[setting(default = true)]
    pub http2: bool,
    /// Whether the connection of a request with `Expect: 100-continue` is kept.
    pub keep_after_continue: bool,
    /// Cookies of applications that begin a session, whose requests stay with one instance.
    #[setting(default = vec!["JSESSIONID".to_owned()])]
    pub sticky_cookies: Vec<String>,
    /// Whether the router's own cookie is for HTTPS only in any case.
    pub secure_cookies: bool,
    /// Whether `Negotiate` authentication is a session, too.
    pub sticky_negotiate: bool,
}

/// How headers are changed.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawHeaders {
    /// Whether `X-Forwarded-Proto` of clients is replaced.
    pub sanitize_forwarded_proto: bool,
    /// Whether `X-Forwarded-Proto` is `https` in any case.
    pub force_forwarded_proto_https: bool,
    /// What `X-Forwarded-Client-Cert` says: `always_forward`, `forward` or `sanitize_set`.
    #[setting(
        default = "always_forward",
        allowed(
            "`always_forward`, `forward` or `sanitize_set`",
            |name| matches!(name.as_str(), "always_forward" | "forward" | "sanitize_set")
        )
    )]
    pub forwarded_client_cert: String,
    /// Headers that reach backends although `Connection` names them.
    pub hop_by_hop_kept: Vec<String>,
    /// Whether Zipkin's traces are continued.
    pub b3: bool,
    /// Whether W3C traces are continued.
    pub w3c: bool,
    /// The tenant in W3C's `tracestate`.
    pub w3c_tenant: String,
    /// The key with which an operator asks for the backend that answered; empty: nobody is told.
    pub trace_key: Secret<String>,
    /// The user agent whose requests ask for the router's health.
    #[setting(default = "HTTP-Monitor/1.1")]
    pub health_agent: String,
    /// Headers that no client gets.
    pub remove_from_answers: Vec<String>,
    /// Headers that answers get that do not have them, `Name: value`.
    pub add_to_answers: Vec<String>,
}

/// How route services are used.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawRouteServices {
    /// The secret that the routers of a deployment share; empty: there is no support for route services.
    pub secret: Secret<String>,
    /// The secret before this one, with which signatures are still read.
    pub previous_secret: Secret<String>,
    /// How long a request may be on its way through a service.
    #[setting(default = "60s", min = "1s", max = "1h")]
    pub timeout: Duration,
    /// Whether services are told to send requests on by HTTPS.
    #[setting(default = true)]
    pub recommend_https: bool,
    /// Whether a signature is checked also where a route has no service.
    pub strict_signatures: bool,
    /// How often a request is tried at a service.
    #[setting(default = 3u32, min = 1, max = 100)]
    pub max_attempts: u32,
    /// Where this router takes its own requests to services that are routes of it, without TLS; absent: such services are
    /// reached as all others. Not for networks.
    pub internal: Option<ListenAddr>,
    /// The hosts of such services, `*.` in front for all below; empty: all.
    pub internal_hosts: Vec<String>,
    /// PEM file of CAs that services' certificates may come from, beside the system's.
    pub ca: Option<PathBuf>,
    /// The router's certificate for services.
    pub certificate: Option<RawCertificate>,
    /// Whether any certificate of a service will do.
    pub skip_verification: bool,
}

/// What is told of requests.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawTelemetry {
    /// The agent that takes lines and timers of requests; absent: there are none.
    pub agent: Option<PeerAddr>,
    /// The name that the agent's certificate must carry.
    #[setting(default = "metron", allowed("the name in the agent's certificate", |name| !name.is_empty()))]
    pub agent_name: String,
    /// The file to which lines of requests are appended; absent: none.
    pub file: Option<PathBuf>,
    /// Whether a timer is told of each request.
    #[setting(default = true)]
    pub timers: bool,
    /// Whether a timer is told of each call of a backend, too.
    pub backend_timers: bool,
    /// Whether lines leave `X-Forwarded-For` out.
    pub hide_forwarded_for: bool,
    /// Whether lines leave the client's address out.
    pub hide_remote_address: bool,
    /// What lines show of a query: `none` redacts nothing, `all` leaves it out, `hash` shows its hash.
    #[setting(
        default = "none",
        allowed("`none`, `all` or `hash`", |name| matches!(name.as_str(), "none" | "all" | "hash"))
    )]
    pub redact_query: String,
    /// Fields that lines show beside those that they always show: `backend_time`, `dial_time`, `dns_time`, `failed_attempts`,
    /// `failed_attempts_time`, `local_address`, `tls_time`.
    pub extra_fields: Vec<String>,
    /// Headers of requests that lines show.
    pub extra_headers: Vec<String>,
}

/// What clients may use.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Most connections of one port; beyond them the longest idle one of the address that holds most is closed, or the new one.
    #[setting(default = 20_000usize, min = 1, max = 1_000_000)]
    pub connections: usize,
    /// Most connections of one IPv4 address or IPv6 /64; 0: half of `connections`. Behind a load balancer all clients have its
    /// address: set it to `connections` there.
    #[setting(max = self.connections)]
    pub connections_per_address: usize,
    /// Bytes from which on the head of a request is refused.
    #[setting(default = "1MiB", min = "8KiB", max = "1MiB")]
    pub request_head: ByteSize,
    /// Most header lines of a request; 0: any number.
    pub request_headers: usize,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawTimeouts {
    /// A request and its answer; 0s: any time.
    #[setting(default = "900s", max = "24h")]
    pub request: Duration,
    /// A connection of a client without a request.
    #[setting(default = "900s", min = "10ms", max = "24h")]
    pub idle: Duration,
    /// The head of a request, from its first byte on.
    #[setting(default = "30s", min = "10ms", max = "24h")]
    pub head: Duration,
    /// A client that does not read its answer, or does not send the body that it has announced.
    #[setting(default = "60s", min = "10ms", max = "24h")]
    pub stalled: Duration,
    /// The TLS handshake of a client.
    #[setting(default = "10s", min = "10ms", max = "24h")]
    pub client_handshake: Duration,
    /// A TCP connection to a backend.
    #[setting(default = "5s", min = "10ms", max = "24h")]
    pub dial: Duration,
    /// The TLS handshake with a backend.
    #[setting(default = "10s", min = "10ms", max = "24h")]
    pub backend_handshake: Duration,
    /// How often the kernel probes a silent backend; 0s: never.
    #[setting(default = "1s", max = "24h")]
    pub probe: Duration,
    /// How long load balancers may take at the start to notice that the router is healthy.
    #[setting(default = "0s", max = "1h")]
    pub healthy_wait: Duration,
    /// How long the router still takes connections once it was asked to stop, so that load balancers notice.
    #[setting(default = "0s", max = "24h")]
    pub drain_wait: Duration,
    /// How long requests under way may still take then.
    #[setting(default = "5s", max = "24h")]
    pub drain: Duration,
}
