//! Sending a request to a route service.

use std::sync::Arc;

use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, Uri, Version};

use super::{Forwarded, Outgoing, Source, content_length, is_idempotent};
use crate::account::Account;
use crate::backend::{Answered, Failed, Failure, Home, Progress, Receiver, RequestBody, Service};
use crate::refusal::Refusal;
use crate::router::Router;

/// Sends a request to the route service at `url`.
pub(crate) async fn forward_to_service(
    router: &Arc<Router>,
    url: &Uri,
    mut outgoing: Outgoing,
    account: &mut Account,
) -> Result<Forwarded, Refusal> {
    let service = service(router, url).ok_or(Refusal::RouteServiceFailed)?;
    let attempts = attempts(router, url, &service, &mut outgoing, account);
    let answered = match router.backends.request_timeout() {
        None => attempts.await,
        Some(limit) => match tokio::time::timeout(limit, attempts).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::Timeout),
        },
    };
    let counters = &router.told.counters;
    let answered = match answered {
        Ok(answered) => answered,
        Err(failure) => {
            counters.service_response(0);
            return Err(Refusal::Endpoint(failure));
        }
    };
    counters.service_response(answered.response.status().as_u16());
    let (mut head, body) = answered.response.into_parts();
    account.backend_answered(head.status, content_length(&head.headers));
    head.version = Version::HTTP_11;
    let home = Home::Service(Arc::clone(&router.backends), Arc::clone(&service.address));
    let body = router.backends.body(body, answered.connection, Some(home), None).await;
    Ok(Forwarded {
        response: Response::from_parts(head, ()),
        source: Source::Body(body),
    })
}

/// Where the service is: this router itself, if the service is one of its routes and may be reached so.
fn service(router: &Router, url: &Uri) -> Option<Service> {
    if let Some(internal) = router.internal
        && router.services.is_internal(&router.registry, url)
    {
        return Some(Service {
            address: internal.to_string().into(),
            name: None,
        });
    }
    let host = url.host()?;
    let port = url.port_u16().unwrap_or(443);
    Some(Service {
        address: format!("{host}:{port}").into(),
        name: Some(host.trim_matches(['[', ']']).to_owned()),
    })
}

async fn attempts(
    router: &Router,
    url: &Uri,
    service: &Service,
    outgoing: &mut Outgoing,
    account: &mut Account,
) -> Result<Answered, Failure> {
    let idempotent = is_idempotent(outgoing);
    let mut attempt = 1;
    let mut fresh = false;
    loop {
        let mut failed = match attempt_at(router, url, service, outgoing, fresh, account).await {
            Ok(answered) => return Ok(answered),
            Err(failed) => failed,
        };
        if let Some(request) = failed.request.take() {
            outgoing.take_back(request);
        }
        let stale = failed.stale && !fresh;
        if !stale {
            account.attempt_failed();
            attempt += 1;
        }
        fresh |= failed.stale;
        tracing::debug!(service = %service.address, error = %failed.failure, "route service failed");
        let progress = Progress {
            written: failed.written,
            idempotent,
        };
        let again = stale || attempt <= router.services.attempts;
        if !again || !failed.failure.is_retriable(progress) || !outgoing.is_whole() {
            return Err(failed.failure);
        }
    }
}

async fn attempt_at(
    router: &Router,
    url: &Uri,
    service: &Service,
    outgoing: &mut Outgoing,
    fresh: bool,
    account: &mut Account,
) -> Result<Answered, Box<Failed>> {
    account.tries_service();
    let connecting = router.backends.connect_service(service, fresh, account.effort());
    let ready = connecting.await.map_err(Failed::before_sending)?;
    let to = Receiver {
        address: &service.address,
        endpoint: None,
    };
    router.backends.send(ready, &to, request(url, outgoing)).await
}

/// The request as the service gets it: for the service's own URL.
fn request(url: &Uri, outgoing: &mut Outgoing) -> Request<RequestBody> {
    let (mut headers, body) = outgoing.take();
    let mut request = Request::new(body);
    *request.method_mut() = outgoing.method.clone();
    if let Some(target) = url.path_and_query() {
        *request.uri_mut() = target.clone().into();
    }
    let host = url
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        headers.insert(HOST, host);
    }
    if outgoing.continues {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    *request.headers_mut() = headers;
    request
}
