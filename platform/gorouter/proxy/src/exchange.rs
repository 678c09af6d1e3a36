//! One request, from its head to the head of its answer, in the order of compute-routing §13.3: trace and number, account,
//! health check, protocol, route, size, client certificate, scheme, route service, backends.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{EXPECT, HOST, USER_AGENT};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use subtle::ConstantTimeEq as _;
use weir_platform_gorouter_table::Pool;
use weir_service::clock;

use crate::account::Account;
use crate::backend::{Failure, RequestBody};
use crate::client_body::ClientBody;
use crate::forward::{Forwarded, Outgoing, Source, forward, forward_to_service};
use crate::headers::names::{
    X_CF_APP_INSTANCE, X_CF_ROUTE_ENDPOINT, X_CF_ROUTER_ERROR, X_FORWARDED_CLIENT_CERT, X_VCAP_BACKEND,
    X_VCAP_REQUEST_ID, X_VCAP_ROUTER, X_VCAP_TRACE,
};
use crate::headers::{client_certificate, forwarded, hop, trace, value};
use crate::lookup;
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::reply::{Content, Reply};
use crate::route_service::{self, Way};
use crate::settings::{ClientCertificate, Settings};
use crate::telemetry::Counters;
use crate::upgrade::Tunnel;

/// Said of a request whose target has a semicolon that is not encoded.
const SEMICOLON: &str = "deprecated-semicolon-params";

/// Serves one request.
pub(crate) async fn exchange(peer: Arc<Peer>, mut request: Request<Incoming>) -> Response<Reply> {
    let upgrading = hop::upgrade(request.headers()).cloned();
    let upgrading = upgrading.map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    let (mut head, body) = request.into_parts();
    let router = &peer.router;
    let trace = trace::apply(&mut head.headers, &router.settings.tracing);
    let mut account = Account::begin(&peer, &head, trace);
    let semicolon = head.uri.query().is_some_and(|query| query.contains(';'));
    let upgrades = upgrading.is_some();
    let answer = match answer(&mut account, &mut head, body, upgrading).await {
        Ok(answer) => answer,
        Err(refusal) => {
            if upgrades && matches!(refusal, Refusal::Endpoint(_)) {
                Counters::add(&router.told.counters.websocket_failures, 1);
            }
            // What was sent on was noted then, as it was sent.
            if !head.headers.is_empty() {
                account.note_headers(&head.headers);
            }
            refuse(&mut account, &refusal)
        }
    };
    let Answer { mut response, tunnel } = answer;
    let headers = response.headers_mut();
    if !headers.contains_key(&X_VCAP_REQUEST_ID) {
        headers.insert(X_VCAP_REQUEST_ID.clone(), trace.request.header());
    }
    if semicolon {
        account.remark(SEMICOLON);
        headers.append(X_CF_ROUTER_ERROR.clone(), HeaderValue::from_static(SEMICOLON));
    }
    router.settings.rewrite.apply(headers);
    match tunnel {
        None => response.map(|content| Reply::new(content, Some(account))),
        Some(tunnel) => {
            tunnel.spawn(account);
            response.map(|content| Reply::new(content, None))
        }
    }
}

/// An answer, and what follows it where it changes the protocol.
struct Answer {
    response: Response<Content>,
    tunnel: Option<Tunnel>,
}

/// The answer of a backend, or why the router answers itself.
async fn answer(
    account: &mut Account,
    head: &mut Parts,
    body: Incoming,
    upgrading: Option<(HeaderValue, OnUpgrade)>,
) -> Result<Answer, Refusal> {
    let peer = Arc::clone(account.peer());
    let (router, settings) = (&peer.router, &peer.router.settings);
    let agent = head.headers.get(USER_AGENT);
    if agent.is_some_and(|agent| agent.as_bytes() == settings.health_agent.as_bytes()) {
        return Err(router.health.answer());
    }
    if !is_served(head, settings.http2) {
        return Err(Refusal::UnsupportedProtocol);
    }
    let looked = clock::instant();
    let pool = router.find(&peer, head)?;
    let counters = &router.told.counters;
    Counters::set(&counters.route_lookup_time, looked.elapsed().as_nanos() as f64);
    account.routed(&pool);
    check_size(head, settings)?;
    let named = lookup::named(&head.headers)?;
    let traced = is_traced(&head.headers, settings);
    let way = way(account, &pool, head, upgrading.is_some())?;
    let outgoing = outgoing(account, head, body, upgrading.as_ref().map(|(protocol, _)| protocol))?;
    account.forwarded();
    let forwarded = match &way {
        Way::Service(url) => forward_to_service(router, url, outgoing, account).await,
        Way::Application => forward(router, &pool, named.as_ref(), outgoing, account).await,
    };
    let Forwarded { mut response, source } = forwarded?;
    if traced {
        let backend = account.endpoint().map_or("", |endpoint| endpoint.address()).to_owned();
        let headers = response.headers_mut();
        headers.insert(X_VCAP_ROUTER.clone(), value(settings.router.to_string()));
        headers.insert(X_VCAP_BACKEND.clone(), value(backend.clone()));
        headers.insert(X_CF_ROUTE_ENDPOINT.clone(), value(backend));
    }
    let switched = hop::upgrade(response.headers()).cloned();
    let is_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    hop::strip(response.headers_mut(), switched.filter(|_| is_switched), &[]);
    Ok(match (source, upgrading) {
        (Source::Body(body), _) => Answer {
            response: response.map(|()| Content::Backend(body)),
            tunnel: None,
        },
        (Source::Switched(connection, lease), Some((_, client))) => Answer {
            response: response.map(|()| Content::Text(Bytes::new())),
            tunnel: Some(Tunnel::new(client, connection, lease)),
        },
        // The backend changes to a protocol that nobody asked for.
        (Source::Switched(..), None) => {
            return Err(Refusal::Endpoint(Failure::Broken {
                reason: "net/http: unexpected 101 Switching Protocols".to_owned(),
            }));
        }
    })
}

/// Where the request goes, and what its headers say of the client: a route service has been told, and tells it again.
fn way(account: &Account, pool: &Pool, head: &mut Parts, upgrades: bool) -> Result<Way, Refusal> {
    let peer = account.peer();
    let (router, settings) = (&peer.router, &peer.router.settings);
    let from_service = router.services.is_from_service(&head.headers, account.started_nanos());
    let certificate = peer.certificate.as_deref();
    if !(from_service && peer.tls) {
        client_certificate::apply(&mut head.headers, certificate, settings.client_certificate);
    }
    if from_service && settings.client_certificate == ClientCertificate::Forward {
        head.headers.remove(&X_FORWARDED_CLIENT_CERT);
    }
    if !from_service {
        forwarded::set_proto(&mut head.headers, peer.tls, settings.forwarded_proto);
    }
    let said = head.headers.get(HOST).cloned();
    let said = said.as_ref().and_then(|host| host.to_str().ok());
    let mut request = route_service::Request {
        host: head.uri.authority().map_or(said.unwrap_or_default(), Authority::as_str),
        target: head.uri.path_and_query().map_or("/", |target| target.as_str()),
        headers: &mut head.headers,
        upgrades,
        now_nanos: account.started_nanos(),
    };
    router.services.way(&router.registry, pool, &mut request)
}

/// The request as backends get it, but for what depends on the backend.
fn outgoing(
    account: &mut Account,
    head: &mut Parts,
    body: Incoming,
    upgrading: Option<&HeaderValue>,
) -> Result<Outgoing, Refusal> {
    let peer = Arc::clone(account.peer());
    let settings = &peer.router.settings;
    let host = match (head.uri.authority(), head.headers.get(HOST)) {
        (None, Some(host)) => host.clone(),
        _ => HeaderValue::from_str(lookup::host(head)).map_err(|_| Refusal::MalformedHost)?,
    };
    let uri = target(head, &host);
    let headers = &mut head.headers;
    let expect = headers.get(EXPECT);
    let continues = expect.is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    hop::strip(headers, upgrading.cloned(), &settings.kept_hop_headers);
    forwarded::append_client(headers, peer.address.ip());
    forwarded::set_start(headers, account.started_nanos());
    headers.remove(&X_CF_APP_INSTANCE);
    headers.insert(HOST, host.clone());
    let body = match body.is_end_stream() {
        true => RequestBody::Empty,
        false => RequestBody::Streaming(ClientBody::new(body, account.count_received(), Arc::clone(&peer))),
    };
    account.note_headers(headers);
    Ok(Outgoing {
        method: head.method.clone(),
        uri,
        host,
        headers: std::mem::take(headers),
        body,
        continues,
        upgrades: upgrading.is_some(),
    })
}

/// The target of the request for HTTP/1.1: as the client wrote it, except that a path which could be taken for a host says whose
/// path it is.
fn target(head: &Parts, host: &HeaderValue) -> Uri {
    let path = head.uri.path_and_query().cloned();
    let host = match (head.version, head.uri.path()) {
        (Version::HTTP_2, _) => None,
        (_, path) if path.starts_with("//") && head.uri.authority().is_none() => Some(host),
        _ => return head.uri.clone(),
    };
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = path;
    if let Some(authority) = host.and_then(|host| Authority::from_maybe_shared(host.clone()).ok()) {
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority);
    }
    Uri::from_parts(parts).unwrap_or_else(|_| head.uri.clone())
}

/// Whether the router speaks the protocol of the request.
fn is_served(head: &Parts, http2: bool) -> bool {
    let version = match head.version {
        Version::HTTP_10 | Version::HTTP_11 => true,
        Version::HTTP_2 => http2,
        _ => false,
    };
    version && head.method != Method::CONNECT
}

/// Refuses a head that is larger than the operator allows; lines are counted as they are written in HTTP/1.1.
fn check_size(head: &Parts, settings: &Settings) -> Result<(), Refusal> {
    let target = head.uri.path_and_query().map_or(1, |target| target.as_str().len());
    let line = head.method.as_str().len() + target + "HTTP/1.1".len() + 4;
    let fields = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    let size = line + fields.sum::<usize>();
    let count = settings.request_headers;
    if size >= settings.request_head || (count > 0 && head.headers.len() > count) {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(())
}

/// Whether the request shows the operator's key.
fn is_traced(headers: &HeaderMap, settings: &Settings) -> bool {
    let given = headers.get(&X_VCAP_TRACE);
    let key = settings.trace_key.as_deref();
    key.zip(given)
        .is_some_and(|(key, given)| bool::from(key.as_bytes().ct_eq(given.as_bytes())))
}

/// The router's own answer.
fn refuse(account: &mut Account, refusal: &Refusal) -> Answer {
    account.peer().router.told.refused(refusal);
    let written = refusal.write();
    account.answered(written.status, written.error);
    let mut response = Response::new(Content::Text(written.body));
    *response.status_mut() = written.status;
    *response.headers_mut() = written.headers;
    Answer { response, tunnel: None }
}
