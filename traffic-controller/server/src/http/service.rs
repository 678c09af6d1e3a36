//! Handles requests: route, authorization, handshake, stream limits, and the upgrade.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_auth::{Authorizer, Caller, Denied, Quota, Scope, Share, credentials};
use weir_net::UnderWay;

use super::route::{Route, is_guid};
use super::{Body, cookie, handshake, origin};
use crate::metrics::StreamKind;
use crate::stream::client::Client;
use crate::stream::filter::Filter;
use crate::stream::host::StreamHost;

/// How long a client may take to send a form.
const FORM_DEADLINE: Duration = Duration::from_secs(10);

/// Answers requests. All connections share it.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) system_domain: String,
    pub(crate) subscriptions: Arc<Semaphore>,
    /// Limits the app streams of each caller that may not read everything, so that one tenant cannot take the places of
    /// nozzles.
    pub(crate) of_one: Arc<Quota>,
    pub(crate) host: Arc<StreamHost>,
}

/// What a stream holds until it ends: its share of the connection, of all streams, and of its caller's streams.
type Permits = (UnderWay, OwnedSemaphorePermit, Option<Share>);

impl Service {
    /// Answers one request of the client at `peer`. `under_way` is held until the stream that the request opens has
    /// ended.
    pub(crate) async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        under_way: UnderWay,
    ) -> Response<Body> {
        let route = Route::of(request.uri().path(), request.uri().query());
        let (caller, kind, shard_id, filter) = match route {
            Route::NotFound => return text(StatusCode::NOT_FOUND, "404 page not found\n"),
            Route::SetCookie => return self.set_cookie(request).await,
            Route::Firehose { subscription, filter } => {
                let caller = match self.may_read_firehose(request.headers()).await {
                    Ok(caller) => caller,
                    Err(denied) => return firehose_denied(denied),
                };
                (caller, StreamKind::Firehose, subscription, Filter::from(filter))
            }
            Route::App { guid } => {
                // The original answers 401 to an invalid guid, and does not ask UAA about it.
                if !is_guid(&guid) {
                    return status(StatusCode::UNAUTHORIZED);
                }
                let caller = match self.may_read_app(request.headers(), &guid).await {
                    Ok(caller) => caller,
                    Err(denied) => return app_denied(denied),
                };
                (caller, StreamKind::App, String::new(), Filter::App(guid))
            }
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, _) = request.into_parts();
        // After the authorization, so that a caller without rights learns nothing from an invalid
        // handshake.
        let accept = match handshake::check(&parts) {
            Ok(accept) => accept,
            Err(error) => return not_a_handshake(error),
        };
        // The permit is taken before the caller's share, so a full server answers 503 and not 429.
        let Ok(subscription) = Arc::clone(&self.subscriptions).try_acquire_owned() else {
            weir_service::limited!(
                warn,
                weir_service::EACH_SECOND,
                %peer,
                "stream refused: too many subscriptions"
            );
            self.host.metrics.rejected_stream();
            return status(StatusCode::SERVICE_UNAVAILABLE);
        };
        let share = match caller.scope() {
            Scope::Everything => None,
            Scope::Sources(_) => match self.of_one.take(&caller, 1) {
                Some(share) => Some(share),
                None => {
                    weir_service::limited!(
                        warn,
                        weir_service::EACH_SECOND,
                        %peer,
                        caller = caller.name(),
                        "stream refused: too many of this caller"
                    );
                    self.host.metrics.rejected_stream();
                    return too_many();
                }
            },
        };
        self.start(
            upgrade,
            client(&parts, peer, caller),
            kind,
            shard_id,
            filter,
            (under_way, subscription, share),
        );
        switching(accept)
    }

    async fn may_read_firehose(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        let token = self.credentials(headers)?;
        self.authorizer.firehose(token.as_deref()).await
    }

    async fn may_read_app(&self, headers: &HeaderMap, guid: &str) -> Result<Caller, Denied> {
        let token = self.credentials(headers)?;
        self.authorizer.source(token.as_deref(), guid).await
    }

    /// Returns the token from the header, or from the cookie that `/set-cookie` made. A browser also sends the cookie
    /// for pages of other sites, which must not get a stream with it, so the page's origin is checked.
    fn credentials<'h>(&self, headers: &'h HeaderMap) -> Result<Option<Cow<'h, str>>, Denied> {
        // The token of a header is never sent by a browser on its own, so only the cookie needs the check of the
        // origin.
        if headers.contains_key(AUTHORIZATION) || origin::is_ours(headers, &self.system_domain) {
            credentials(headers)
        } else {
            Ok(None)
        }
    }

    fn start(
        &self,
        upgrade: OnUpgrade,
        client: Client,
        kind: StreamKind,
        shard_id: String,
        filter: Filter,
        permits: Permits,
    ) {
        let host = Arc::clone(&self.host);
        self.host.tasks().spawn("stream", async move {
            host.run(upgrade, client, kind, shard_id, filter).await;
            // Kept as long as the stream, so that the limits count open streams and not requests.
            drop(permits);
        });
    }

    async fn set_cookie(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let form = match parts.method {
            Method::POST | Method::PUT | Method::PATCH => {
                #[expect(clippy::disallowed_methods, reason = "the body is limited")]
                let body = Limited::new(body, cookie::MAX_FORM).collect();
                match tokio::time::timeout(FORM_DEADLINE, body).await {
                    Ok(Ok(body)) => String::from_utf8(body.to_bytes().to_vec()).ok(),
                    Ok(Err(_)) | Err(_) => None,
                }
            }
            _ => parts.uri.query().map(ToOwned::to_owned),
        };
        cookie::set_cookie(&parts.headers, form.as_deref(), &self.system_domain)
    }
}

fn client(parts: &request::Parts, peer: SocketAddr, caller: Caller) -> Client {
    let forwarded: Vec<&str> = parts
        .headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let path = parts
        .uri
        .path_and_query()
        .map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
    Client {
        peer,
        forwarded_for: forwarded.join(", "),
        path,
        caller,
    }
}

/// Returns the refusal of a firehose. noaa shows the body to its user.
fn firehose_denied(denied: Denied) -> Response<Body> {
    let body = match denied {
        Denied::Missing => "You are not authorized. authorization not provided",
        Denied::Unavailable => return text(StatusCode::SERVICE_UNAVAILABLE, "authorization cannot be checked now\n"),
        _ => "You are not authorized. invalid authorization",
    };
    unauthorized(text(StatusCode::UNAUTHORIZED, body))
}

fn app_denied(denied: Denied) -> Response<Body> {
    match denied {
        Denied::Missing | Denied::Invalid | Denied::Expired | Denied::Revoked => {
            unauthorized(status(StatusCode::UNAUTHORIZED))
        }
        // An app that the caller may not read looks like one that does not exist.
        Denied::Forbidden | Denied::NotFound => status(StatusCode::NOT_FOUND),
        Denied::Unavailable => status(StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn too_many() -> Response<Body> {
    let mut response = text(
        StatusCode::TOO_MANY_REQUESTS,
        "there are too many streams of this user or client already\n",
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

fn text(status_code: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = status(status_code);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    *response.body_mut() = Body::new(text.into());
    response
}

fn unauthorized(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    response
}

fn not_a_handshake(error: handshake::NotAHandshake) -> Response<Body> {
    let mut response = text(StatusCode::BAD_REQUEST, format!("Bad Request\n{error}\n"));
    response
        .headers_mut()
        .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

fn switching(accept: HeaderValue) -> Response<Body> {
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    handshake::answer(accept, response.headers_mut());
    response
}
