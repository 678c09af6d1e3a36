//! What the way of a request depends on, as operators set it.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;

use crate::headers::rewrite::Rewrite;

/// Settings of requests and answers. They do not change while the router runs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The router's address, for `X-Vcap-Router`.
    pub(crate) router: IpAddr,
    /// How often a request is tried at backends.
    pub(crate) attempts: u32,
    /// Whether a route without backends is answered 503 and not 404.
    pub(crate) empty_is_unavailable: bool,
    /// Bytes of a request's head from which on it is refused.
    pub(crate) request_head: usize,
    /// Most header lines of a request; 0: any number.
    pub(crate) request_headers: usize,
    /// Most header lines of an answer; 0: any number.
    pub(crate) answer_headers: usize,
    /// How the scheme of the client is told.
    pub(crate) forwarded_proto: ForwardedProto,
    /// How the certificate of the client is told.
    pub(crate) client_certificate: ClientCertificate,
    /// Headers that stay although `Connection` names them.
    pub(crate) kept_hop_headers: Vec<HeaderName>,
    /// Which traces are continued.
    pub(crate) tracing: Tracing,
    /// The key with which an operator asks for the backend that answered.
    pub(crate) trace_key: Option<String>,
    /// The user agent whose requests ask for the router's health.
    pub(crate) health_agent: String,
    /// Sessions that stay with one instance.
    pub(crate) sticky: Sticky,
    /// Whether the connection of a request with `Expect: 100-continue` is used again.
    pub(crate) keep_continued: bool,
    /// What operators change in answers.
    pub(crate) rewrite: Rewrite,
    /// Whether HTTP/2 is spoken, in front and to backends.
    pub(crate) http2: bool,
}

/// What `X-Forwarded-Proto` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardedProto {
    /// What the client says, otherwise how it came.
    Keep,
    /// How the client came.
    Sanitize,
    /// `https`, whatever the client did.
    ForceHttps,
}

/// What `X-Forwarded-Client-Cert` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientCertificate {
    /// What the client says.
    AlwaysForward,
    /// What a client says that has shown a certificate.
    Forward,
    /// The certificate that the client has shown.
    SanitizeSet,
}

/// Which traces are continued, and written into requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tracing {
    /// Zipkin's headers.
    pub(crate) b3: bool,
    /// W3C trace context.
    pub(crate) w3c: bool,
    /// The tenant in `tracestate`.
    pub(crate) w3c_tenant: Option<String>,
}

/// Sessions that stay with one instance.
#[derive(Debug, Clone)]
pub(crate) struct Sticky {
    /// The cookies of applications that begin a session.
    pub(crate) cookies: Vec<String>,
    /// Whether the router's own cookie is for HTTPS only in any case.
    pub(crate) secure: bool,
    /// Whether `Negotiate` authentication is a session too.
    pub(crate) negotiate: bool,
}

/// Settings of connections to backends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackendSettings {
    /// How long a TCP connection may take.
    pub(crate) dial: Duration,
    /// How long a TLS handshake may take.
    pub(crate) handshake: Duration,
    /// How long a request and its answer may take; zero: any time.
    pub(crate) request: Duration,
    /// How often the kernel probes an idle connection; zero: never.
    pub(crate) probe: Duration,
    /// Whether connections are kept after an answer.
    pub(crate) keep_alive: bool,
    /// Most idle connections.
    pub(crate) idle: usize,
    /// Most idle connections to one backend.
    pub(crate) idle_per_backend: usize,
    /// Bytes of an answer's head from which on it is refused; 0: 1 MiB.
    pub(crate) answer_head: usize,
}
