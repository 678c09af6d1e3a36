//! What is told of a request when it is over: its line in the access log, its timer, its metrics.
//!
//! Every request has one account from its head to the last byte of its answer, whatever becomes of it. It is told when the
//! account is dropped, so that a client that leaves is told as well.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::{HOST, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use weir_applog::Attempt;
use weir_platform_gorouter_table::{Endpoint, Pool};
use weir_service::clock;

use crate::backend::Effort;
use crate::headers::names::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::headers::trace::Trace;
use crate::peer::{Peer, Serving};

/// The status of a request whose client left before there was one.
const CLIENT_LEFT: u16 = 499;

/// What is known of one request.
#[derive(Debug)]
pub(crate) struct Account {
    serving: Serving,
    /// When the head had come.
    pub(crate) started: Instant,
    /// The same in nanoseconds since 1970.
    started_nanos: i64,
    /// The trace and the number of the request.
    pub(crate) trace: Trace,
    /// The method.
    pub(crate) method: Method,
    /// The target as the client wrote it.
    pub(crate) uri: Uri,
    /// What the client speaks.
    pub(crate) version: Version,
    /// The route, once it is known.
    pool: Option<Arc<Pool>>,
    /// The headers of the request that are told.
    pub(crate) told: ToldHeaders,
    /// Bytes of the request's body, where it has one.
    received: Option<Arc<AtomicU64>>,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
    /// The status of the answer.
    pub(crate) status: u16,
    /// What `X-Cf-RouterError` says.
    pub(crate) error: Cow<'static, str>,
    /// The backend that answered, or was tried last.
    endpoint: Option<Arc<Endpoint>>,
    /// Attempts that failed.
    pub(crate) failed_attempts: u32,
    /// When the last of them failed.
    pub(crate) last_failed: Option<Instant>,
    /// When the request was sent on to backends.
    pub(crate) forwarded: Option<Instant>,
    /// Whether a backend has answered.
    pub(crate) answered_by_backend: bool,
    /// What it took to reach the backend.
    pub(crate) effort: Effort,
    /// The attempts, for timers of their own.
    pub(crate) attempts: Vec<Attempt>,
    /// When the attempt under way began, in nanoseconds since 1970.
    attempt_started: i64,
}

/// Headers of a request that are told.
#[derive(Debug, Default)]
pub(crate) struct ToldHeaders {
    /// `Host`.
    pub(crate) host: Option<HeaderValue>,
    /// `Referer`.
    pub(crate) referer: Option<HeaderValue>,
    /// `User-Agent`.
    pub(crate) user_agent: Option<HeaderValue>,
    /// `X-Forwarded-For`.
    pub(crate) forwarded_for: Option<HeaderValue>,
    /// `X-Forwarded-Proto`.
    pub(crate) forwarded_proto: Option<HeaderValue>,
    /// Those that the operator wants to see, in that order.
    pub(crate) extra: Vec<Option<HeaderValue>>,
}

impl Account {
    /// A request whose head has come.
    pub(crate) fn begin(peer: &Arc<Peer>, head: &Parts, trace: Trace) -> Self {
        Self {
            serving: Serving::begin(peer),
            started: clock::instant(),
            started_nanos: clock::now_nanos(),
            trace,
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            pool: None,
            told: ToldHeaders::default(),
            received: None,
            sent: 0,
            status: CLIENT_LEFT,
            error: Cow::Borrowed(""),
            endpoint: None,
            failed_attempts: 0,
            last_failed: None,
            forwarded: None,
            answered_by_backend: false,
            effort: Effort::default(),
            attempts: Vec::new(),
            attempt_started: 0,
        }
    }

    /// The connection on which the request came.
    pub(crate) fn peer(&self) -> &Arc<Peer> {
        self.serving.peer()
    }

    /// When the request came, in nanoseconds since 1970.
    pub(crate) const fn started_nanos(&self) -> i64 {
        self.started_nanos
    }

    /// The route of the request.
    pub(crate) fn routed(&mut self, pool: &Arc<Pool>) {
        self.pool = Some(Arc::clone(pool));
    }

    /// The route of the request; empty if none was found.
    pub(crate) fn route(&self) -> &str {
        self.pool.as_ref().map_or("", |pool| pool.route())
    }

    /// The backend that answered, or was tried last.
    pub(crate) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.endpoint.as_ref()
    }

    /// Bytes of the request's body.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received
            .as_ref()
            .map_or(0, |received| received.load(Ordering::Relaxed))
    }

    /// Notes the headers that are told, as a backend gets them or, for a request that no backend gets, as they came.
    pub(crate) fn note_headers(&mut self, headers: &HeaderMap) {
        let extra = self.peer().router.told.extra_headers().iter();
        let extra = extra.map(|(_, name)| headers.get(name).cloned()).collect();
        self.told = ToldHeaders {
            extra,
            host: headers.get(HOST).cloned(),
            referer: headers.get(REFERER).cloned(),
            user_agent: headers.get(USER_AGENT).cloned(),
            forwarded_for: headers.get(&X_FORWARDED_FOR).cloned(),
            forwarded_proto: headers.get(&X_FORWARDED_PROTO).cloned(),
        };
    }

    /// The request has a body; returns what counts its bytes.
    pub(crate) fn count_received(&mut self) -> Arc<AtomicU64> {
        Arc::clone(self.received.get_or_insert_default())
    }

    /// The request goes on to backends.
    pub(crate) fn forwarded(&mut self) {
        self.forwarded = Some(clock::instant());
    }

    /// The request is tried at a backend.
    pub(crate) fn tries(&mut self, endpoint: &Arc<Endpoint>) {
        self.peer().router.told.attempt(endpoint);
        self.endpoint = Some(Arc::clone(endpoint));
        self.effort = Effort::default();
        self.attempt_started = clock::now_nanos();
    }

    /// The request is tried at a route service.
    pub(crate) fn tries_service(&mut self) {
        self.effort = Effort::default();
        self.attempt_started = clock::now_nanos();
    }

    /// What it takes to reach the backend.
    pub(crate) const fn effort(&mut self) -> &mut Effort {
        &mut self.effort
    }

    /// An attempt failed.
    pub(crate) fn attempt_failed(&mut self) {
        self.failed_attempts += 1;
        self.last_failed = Some(clock::instant());
        self.note_attempt(0, None);
    }

    /// A backend has answered with this status, and a body of this length if it says so.
    pub(crate) fn backend_answered(&mut self, status: StatusCode, length: Option<u64>) {
        self.answered_by_backend = true;
        self.note_attempt(status.as_u16(), length);
        self.answered(status, Cow::Borrowed(""));
    }

    fn note_attempt(&mut self, status: u16, content_length: Option<u64>) {
        let took = u64::try_from(clock::now_nanos() - self.attempt_started).unwrap_or(0);
        self.attempts.push(Attempt {
            started: self.attempt_started,
            took: Duration::from_nanos(took),
            status,
            content_length,
        });
    }

    /// The answer has this status, and this text in `X-Cf-RouterError`.
    pub(crate) fn answered(&mut self, status: StatusCode, error: Cow<'static, str>) {
        self.status = status.as_u16();
        self.error = error;
    }

    /// Something is said of the request that does not change its answer.
    pub(crate) fn remark(&mut self, text: &'static str) {
        if self.error.is_empty() {
            self.error = Cow::Borrowed(text);
        }
    }

    /// A tunnel has carried so many bytes from the client and to it.
    pub(crate) fn carried(&mut self, up: u64, down: u64) {
        self.count_received().fetch_add(up, Ordering::Relaxed);
        self.sent += down;
    }

    /// A piece of the answer's body goes to the client.
    pub(crate) const fn sends(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.serving.peer().router.told.request(&*self);
    }
}
