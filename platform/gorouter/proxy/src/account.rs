//! What is told of a request when it is over: its line in the access log, its timer, its metrics.
//!
//! Every request has one account from its head to the last byte of its answer, whatever becomes of it. It is told when the
//! account is dropped, so that a client that leaves is told as well.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::header::{HOST, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use weir_platform_gorouter_table::Endpoint;
use weir_service::clock;

use crate::backend::Effort;
use crate::headers::names::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::headers::trace::Trace;
use crate::peer::{Peer, Serving};

/// The status of a request whose client left before there was one.
const CLIENT_LEFT: u16 = 499;

/// What is known of one request.
#[derive(Debug)]
#[expect(dead_code, reason = "the access log, which reads it, is a change of its own")]
pub(crate) struct Account {
    serving: Serving,
    /// When the head had come.
    started: Instant,
    /// The same in nanoseconds since 1970.
    started_nanos: i64,
    trace: Trace,
    method: Method,
    uri: Uri,
    version: Version,
    /// The headers of the request that are told.
    told: Told,
    /// Bytes of the request's body, where it has one.
    received: Option<Arc<AtomicU64>>,
    /// Bytes of the answer's body.
    sent: u64,
    status: u16,
    error: Cow<'static, str>,
    /// The backend that answered, or was tried last.
    endpoint: Option<Arc<Endpoint>>,
    /// Attempts that failed.
    failed_attempts: u32,
    last_failed: Option<Instant>,
    /// When the request was sent on to backends, and when their answer began or none was left.
    forwarded: Option<Instant>,
    answered: Option<Instant>,
    effort: Effort,
}

/// Headers of a request that are told.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "the access log, which reads it, is a change of its own")]
struct Told {
    host: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
    forwarded_proto: Option<HeaderValue>,
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
            told: Told::default(),
            received: None,
            sent: 0,
            status: CLIENT_LEFT,
            error: Cow::Borrowed(""),
            endpoint: None,
            failed_attempts: 0,
            last_failed: None,
            forwarded: None,
            answered: None,
            effort: Effort::default(),
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

    /// Notes the headers that are told, as a backend gets them or, for a request that no backend gets, as they came.
    pub(crate) fn note_headers(&mut self, headers: &HeaderMap) {
        self.told = Told {
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
        self.endpoint = Some(Arc::clone(endpoint));
        self.effort = Effort::default();
    }

    /// What it takes to reach the backend.
    pub(crate) const fn effort(&mut self) -> &mut Effort {
        &mut self.effort
    }

    /// An attempt failed.
    pub(crate) fn attempt_failed(&mut self) {
        self.failed_attempts += 1;
        self.last_failed = Some(clock::instant());
    }

    /// The answer has this status, and this text in `X-Cf-RouterError`.
    pub(crate) fn answered(&mut self, status: StatusCode, error: Cow<'static, str>) {
        self.status = status.as_u16();
        self.error = error;
        self.answered = Some(clock::instant());
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
