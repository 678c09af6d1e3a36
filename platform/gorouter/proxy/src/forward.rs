//! Sending a request on: one backend after the other until one answers or none may be tried any more (contract compute-routing
//! §13.4).

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use weir_platform_gorouter_table::{Endpoint, Lease, NoEndpoint, Pool, Wanted};
use weir_service::clock;

use crate::account::Account;
use crate::backend::{AnswerBody, Answered, Exclusive, Failed, Failure, Home, Progress, Ready, Receiver, RequestBody};
use crate::headers::names::{
    IDEMPOTENCY_KEY, X_CF_APPLICATION_ID, X_CF_INSTANCE_ID, X_CF_INSTANCE_INDEX, X_IDEMPOTENCY_KEY,
};
use crate::headers::{text, value};
use crate::lookup::Named;
use crate::refusal::Refusal;
use crate::router::Router;
use crate::sticky;

mod service;

pub(crate) use service::forward_to_service;

/// A request that is to be sent on.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Its method.
    pub(crate) method: Method,
    /// Its target as HTTP/1.1 writes it.
    pub(crate) uri: Uri,
    /// The host that it is for.
    pub(crate) host: HeaderValue,
    /// Its headers, but for those that say which backend it got.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: RequestBody,
    /// Whether the client waits for `100 Continue`.
    pub(crate) continues: bool,
    /// Whether the client wants to change the protocol.
    pub(crate) upgrades: bool,
}

/// The answer of a backend.
#[derive(Debug)]
pub(crate) struct Forwarded {
    /// Its head.
    pub(crate) response: Response<()>,
    /// What follows the head.
    pub(crate) source: Source,
}

/// What follows the head of an answer.
#[derive(Debug)]
pub(crate) enum Source {
    /// A body, which may be empty.
    Body(AnswerBody),
    /// Another protocol.
    Switched(Box<Exclusive>, Lease),
}

/// Sends a request to a backend of `pool`.
pub(crate) async fn forward(
    router: &Arc<Router>,
    pool: &Pool,
    named: Option<&Named>,
    mut outgoing: Outgoing,
    account: &mut Account,
) -> Result<Forwarded, Refusal> {
    let limit = router.backends.request_timeout().filter(|_| !outgoing.upgrades);
    let attempts = attempts(router, pool, named, &mut outgoing, account);
    let answered = match limit {
        None => attempts.await,
        Some(limit) => match tokio::time::timeout(limit, attempts).await {
            Ok(answered) => answered,
            Err(_) => Err(Refusal::Endpoint(Failure::Timeout)),
        },
    };
    let (lease, answered, session) = answered?;
    let settings = &router.settings;
    if settings.answer_headers > 0 && answered.response.headers().len() > settings.answer_headers {
        return Err(Refusal::Endpoint(Failure::TooManyHeaders));
    }
    let (mut head, body) = answered.response.into_parts();
    account.backend_answered(head.status, content_length(&head.headers));
    if !lease.instance_id().is_empty() {
        sticky::set(
            &mut head.headers,
            &settings.sticky,
            lease.instance_id(),
            session.as_deref(),
            pool.path(),
        );
    }
    let kept = !outgoing.continues || settings.keep_continued;
    let home = kept.then(|| Home::Backend(Arc::clone(&router.backends), lease.id()));
    let source = match answered.connection {
        Some(connection) if head.status == StatusCode::SWITCHING_PROTOCOLS => Source::Switched(connection, lease),
        connection => Source::Body(router.backends.body(body, connection, home, Some(lease)).await),
    };
    // What the backend speaks is not what the client speaks.
    head.version = Version::HTTP_11;
    Ok(Forwarded {
        response: Response::from_parts(head, ()),
        source,
    })
}

/// Tries one backend after the other. Returns also the instance at which the request's session is.
async fn attempts(
    router: &Arc<Router>,
    pool: &Pool,
    named: Option<&Named>,
    outgoing: &mut Outgoing,
    account: &mut Account,
) -> Result<(Lease, Answered, Option<String>), Refusal> {
    let session = sticky::wanted(&outgoing.headers, &router.settings.sticky);
    let must_be_sticky = session.is_some_and(|session| session.only);
    let session = session.map(|session| session.instance.to_owned());
    let hash_key = hash_key(pool, &outgoing.headers);
    let idempotent = is_idempotent(outgoing);
    let mut tried = Vec::new();
    let mut last = None;
    for attempt in 0..router.settings.attempts.max(1) {
        let wanted = Wanted {
            sticky: session.as_deref(),
            must_be_sticky,
            instance: named.map(Named::instance),
            hash_key: hash_key.as_deref(),
            attempt,
            tried: &tried,
        };
        let lease = match pool.select(&wanted, clock::instant()) {
            Ok(lease) => lease,
            Err(none) => return Err(last.map_or_else(|| nobody(router, named, none, outgoing), Refusal::Endpoint)),
        };
        if tried.contains(&lease.id()) && attempt as usize >= pool.len() {
            break;
        }
        account.tries(&lease);
        let failed = match attempt_at(router, &lease, outgoing, idempotent, account).await {
            Ok(answered) => return Ok((lease, answered, session)),
            Err(failed) => *failed,
        };
        account.attempt_failed();
        blame(router, pool, &lease, &failed.failure);
        let progress = Progress {
            written: failed.written,
            idempotent,
        };
        let again = failed.failure.is_retriable(progress) && outgoing.is_whole();
        tried.push(lease.id());
        last = Some(failed.failure);
        if !again {
            break;
        }
    }
    Err(Refusal::Endpoint(last.unwrap_or(Failure::NoEndpoints)))
}

/// Tries one backend. A kept connection that turns out to be gone is no attempt: another is made.
async fn attempt_at(
    router: &Router,
    lease: &Lease,
    outgoing: &mut Outgoing,
    idempotent: bool,
    account: &mut Account,
) -> Result<Answered, Box<Failed>> {
    let mut fresh = false;
    loop {
        let connecting = router.backends.connect(
            lease,
            router.settings.http2 && !outgoing.upgrades,
            fresh,
            account.effort(),
        );
        let ready = connecting.await.map_err(Failed::before_sending)?;
        let request = outgoing.request(lease, &ready, router.settings.keep_continued);
        let to = Receiver {
            address: lease.address(),
            endpoint: Some(lease.id()),
        };
        let mut failed = match router.backends.send(ready, &to, request).await {
            Ok(answered) => return Ok(answered),
            Err(failed) => failed,
        };
        if let Some(request) = failed.request.take() {
            outgoing.take_back(request);
        }
        let harmless = !failed.written || idempotent;
        if fresh || !failed.stale || !harmless || !outgoing.is_whole() {
            return Err(failed);
        }
        fresh = true;
    }
}

/// What a failure means for the backend.
fn blame(router: &Router, pool: &Pool, lease: &Lease, failure: &Failure) {
    let now = clock::instant();
    tracing::debug!(backend = lease.address(), error = %failure, "backend failed");
    if failure.is_prunable() && lease.tls() && pool.prune_endpoint(lease, now) {
        router.backends.forget(lease.id());
        router.told.pruned(1);
    } else if failure.is_failable() {
        pool.failed(lease, now);
    }
}

/// Why no backend was chosen.
fn nobody(router: &Router, named: Option<&Named>, none: NoEndpoint, outgoing: &Outgoing) -> Refusal {
    let host = outgoing.host.to_str().unwrap_or_default().to_owned();
    match (none, named) {
        (NoEndpoint::Overloaded, _) => Refusal::Overloaded { host },
        (NoEndpoint::UnknownInstance, Some(named)) => named.unknown(&host),
        (NoEndpoint::UnknownInstance, None) => Refusal::Endpoint(Failure::NoEndpoints),
        (NoEndpoint::Empty, _) => router.empty(host),
    }
}

/// The length that the head of an answer says.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The value that decides about the backend, where the route goes by one.
fn hash_key(pool: &Pool, headers: &HeaderMap) -> Option<String> {
    let options = pool.options()?;
    let header = &options.hash.as_ref()?.header;
    let key = headers.get(header.parse::<HeaderName>().ok()?)?;
    key.to_str().ok().map(str::to_owned)
}

/// Whether the request may be sent twice.
pub(crate) fn is_idempotent(outgoing: &Outgoing) -> bool {
    let key = |name| !text(&outgoing.headers, name).is_empty();
    matches!(outgoing.body, RequestBody::Empty)
        && (matches!(
            outgoing.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        ) || key(&IDEMPOTENCY_KEY)
            || key(&X_IDEMPOTENCY_KEY))
}

impl Outgoing {
    /// Whether head and body are there: a body that was sent is not.
    pub(crate) const fn is_whole(&self) -> bool {
        !matches!(self.body, RequestBody::Sent)
    }

    /// Nothing of the request was sent.
    pub(crate) fn take_back(&mut self, request: Request<RequestBody>) {
        let (head, body) = request.into_parts();
        self.headers = head.headers;
        self.body = body;
    }

    /// Head and body for one attempt. A request without a body stays whole, one with a body is gone.
    pub(crate) fn take(&mut self) -> (HeaderMap, RequestBody) {
        match &self.body {
            RequestBody::Empty => (self.headers.clone(), RequestBody::Empty),
            _ => (
                std::mem::take(&mut self.headers),
                std::mem::replace(&mut self.body, RequestBody::Sent),
            ),
        }
    }

    /// The request for `endpoint`.
    fn request(&mut self, endpoint: &Endpoint, ready: &Ready, keep_continued: bool) -> Request<RequestBody> {
        let (mut headers, body) = self.take();
        let instance = match endpoint.instance_id() {
            "" => endpoint.address(),
            id => id,
        };
        for (name, text) in [
            (&X_CF_APPLICATION_ID, endpoint.app_id()),
            (&X_CF_INSTANCE_INDEX, endpoint.instance_index()),
            (&X_CF_INSTANCE_ID, instance),
        ] {
            headers.insert(name.clone(), value(bytes::Bytes::copy_from_slice(text.as_bytes())));
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        match ready {
            Ready::Exclusive { .. } => {
                *request.uri_mut() = self.uri.clone();
                headers.insert(HOST, self.host.clone());
                if self.continues && !keep_continued {
                    headers.insert(CONNECTION, HeaderValue::from_static("close"));
                }
            }
            Ready::Shared(_) => {
                *request.uri_mut() = self.absolute(endpoint.tls());
                *request.version_mut() = Version::HTTP_2;
                headers.remove(HOST);
            }
        }
        *request.headers_mut() = headers;
        request
    }

    /// The target of the request as HTTP/2 has it.
    fn absolute(&self, tls: bool) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Authority::from_maybe_shared(self.host.clone()).ok();
        parts.path_and_query = self.uri.path_and_query().cloned();
        Uri::from_parts(parts).unwrap_or_else(|_| self.uri.clone())
    }
}
