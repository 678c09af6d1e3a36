//! What is told of one request.

use std::time::Duration;

use crate::tags::AppTags;

/// What is told of one HTTP request after its answer has been sent. Empty text means: there is none.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'r> {
    /// The header `Host`.
    pub host: &'r [u8],
    /// The method.
    pub method: &'r str,
    /// `http` or `https`, by the client's connection.
    pub scheme: &'r str,
    /// Path and query, as the request has them.
    pub uri: &'r str,
    /// The version of HTTP: `HTTP/1.1`.
    pub protocol: &'r str,
    /// The status of the answer; 0: there was no answer.
    pub status: u16,
    /// The length of the request's body, in bytes.
    pub received_bytes: u64,
    /// The length of the answer's body, in bytes.
    pub sent_bytes: u64,
    /// The header `Referer`.
    pub referer: &'r [u8],
    /// The header `User-Agent`.
    pub user_agent: &'r [u8],
    /// The header `X-Forwarded-For`, as the backend got it; several are joined with `, `.
    pub forwarded_for: &'r [u8],
    /// The header `X-Forwarded-Proto`, as the backend got it.
    pub forwarded_proto: &'r [u8],
    /// The header `X-Vcap-Request-Id`.
    pub request_id: &'r str,
    /// The address and port of the client.
    pub remote_address: &'r str,
    /// The address and port from which the router called the backend.
    pub local_address: &'r str,
    /// When the head of the request had come, in nanoseconds since the Unix epoch.
    pub started: i64,
    /// How long it took from there to the end of the answer; `None`: it did not end.
    pub took: Option<Duration>,
    /// How much of that the router used itself.
    pub router_took: Option<Duration>,
    /// The text of the header `X-Cf-RouterError`.
    pub router_error: &'r str,
    /// The route that served the request: host and path.
    pub route: &'r str,
    /// The backend that answered, or was tried last.
    pub backend: Option<Backend<'r>>,
    /// How many attempts failed.
    pub failed_attempts: u32,
    /// Whether an attempt was successful.
    pub is_answered_by_backend: bool,
    /// How long phases of the request took.
    pub phases: Phases,
    /// The trace that the request belongs to.
    pub trace: Option<TraceIds<'r>>,
    /// The attempts to be told as timers of their own.
    pub attempts: &'r [Attempt],
    /// The headers that the access log is configured to show, each with its name as configured.
    pub extra_headers: &'r [(&'r str, &'r [u8])],
}

/// The backend of a request.
#[derive(Debug, Clone, Copy)]
pub struct Backend<'r> {
    /// Its address and port.
    pub address: &'r str,
    /// The id of the app.
    pub app_id: &'r str,
    /// The index of the instance.
    pub instance_index: &'r str,
    /// The id of the instance.
    pub instance_id: &'r str,
    /// The tags of the backend's registration.
    pub tags: &'r AppTags,
}

/// How long phases of a request took; `None`: there was none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phases {
    /// All attempts that failed.
    pub failed_attempts: Option<Duration>,
    /// The resolution of the backend's name.
    pub dns: Option<Duration>,
    /// The connection to the backend.
    pub dial: Option<Duration>,
    /// The TLS handshake with the backend.
    pub tls: Option<Duration>,
    /// The successful attempt.
    pub backend: Option<Duration>,
}

/// The trace that a request belongs to.
#[derive(Debug, Clone, Copy)]
pub struct TraceIds<'r> {
    /// The id of the trace, in hexadecimal digits.
    pub trace: &'r str,
    /// The id of the router's span, in hexadecimal digits.
    pub span: &'r str,
}

/// One call of a backend.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// When it began, in nanoseconds since the Unix epoch.
    pub started: i64,
    /// How long it took until the head of the answer had come, or the attempt failed.
    pub took: Duration,
    /// The status of the answer; 0: there was none.
    pub status: u16,
    /// The length that the answer's head says; `None`: it does not say.
    pub content_length: Option<u64>,
}

impl RequestRecord<'_> {
    /// A request of which nothing is known.
    pub const EMPTY: Self = Self {
        host: b"",
        method: "",
        scheme: "http",
        uri: "",
        protocol: "",
        status: 0,
        received_bytes: 0,
        sent_bytes: 0,
        referer: b"",
        user_agent: b"",
        forwarded_for: b"",
        forwarded_proto: b"",
        request_id: "",
        remote_address: "",
        local_address: "",
        started: 0,
        took: None,
        router_took: None,
        router_error: "",
        route: "",
        backend: None,
        failed_attempts: 0,
        is_answered_by_backend: false,
        phases: Phases {
            failed_attempts: None,
            dns: None,
            dial: None,
            tls: None,
            backend: None,
        },
        trace: None,
        attempts: &[],
        extra_headers: &[],
    };

    /// The end of the request, in nanoseconds since the Unix epoch; its start if it did not end.
    pub(crate) fn finished(&self) -> i64 {
        later(self.started, self.took.unwrap_or_default())
    }
}

/// The time `after` a time in nanoseconds since the Unix epoch.
pub(crate) fn later(time: i64, after: Duration) -> i64 {
    time.saturating_add(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX))
}
