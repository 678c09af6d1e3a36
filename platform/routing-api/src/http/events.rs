//! Events, as they happen. What happened before a subscription is not repeated.
//!
//! Nothing is written ahead of what the connection takes: a client that does not read falls behind in the hub, and is ended
//! there; or its connection is cut, where its answer is not read at all.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use tokio::sync::OwnedSemaphorePermit;
use weir_auth::{Caller, Share};
use weir_routing_api_client::{ApiError, Event};

use super::{App, Refusal, scopes};
use crate::hub::{Hub, Subscription};

/// How long a stream is silent before a comment is sent, which clients pass over. So both ends notice when the other one has
/// vanished.
const HEARTBEAT: Duration = Duration::from_secs(30);

pub(super) async fn http(State(app): State<App>, version: Version, headers: HeaderMap) -> Result<Response, Refusal> {
    subscribe(&app, &app.http.hub, version, &headers).await
}

pub(super) async fn tcp(State(app): State<App>, version: Version, headers: HeaderMap) -> Result<Response, Refusal> {
    subscribe(&app, &app.tcp.hub, version, &headers).await
}

/// A subscription that is served.
struct Feed {
    app: App,
    caller: Caller,
    subscription: Subscription,
    /// The id of the next event.
    id: u64,
    _places: (OwnedSemaphorePermit, Share),
}

async fn subscribe(app: &App, hub: &Hub, version: Version, headers: &HeaderMap) -> Result<Response, Refusal> {
    let caller = app.allow(headers, scopes::ROUTES_READ).await?;
    let busy = |status: StatusCode| Refusal::new(status, ApiError::PROCESS_REQUEST, "too many subscriptions to events");
    let share = app.of_caller.take(&caller, 1);
    let share = share.ok_or_else(|| busy(StatusCode::TOO_MANY_REQUESTS))?;
    let place = std::sync::Arc::clone(&app.subscriptions).try_acquire_owned();
    let place = place.map_err(|_| busy(StatusCode::SERVICE_UNAVAILABLE))?;
    let feed = Feed {
        app: app.clone(),
        caller,
        subscription: hub.subscribe(),
        id: 0,
        _places: (place, share),
    };
    let mut response = Response::new(Body::from_stream(feed.stream()));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    // HTTP/2 has no such header.
    if version <= Version::HTTP_11 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    Ok(response)
}

impl Feed {
    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        futures::stream::unfold(self, |mut feed| async {
            let bytes = feed.next().await?;
            Some((Ok(bytes), feed))
        })
    }

    /// What is sent next; `None` at the end: the caller's token has ended, the subscription fell behind, or the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        let announcement = tokio::select! {
            announcement = self.subscription.next() => announcement,
            () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b":\n")),
            ended = self.caller.ended() => {
                tracing::debug!(reason = %ended, "subscription ends with its token");
                return None;
            }
            () = self.app.shutdown.requested() => return None,
        };
        let Some(announcement) = announcement else {
            self.app.metrics.cut();
            tracing::info!(
                caller = self.caller.name(),
                "subscription does not keep up and is ended"
            );
            return None;
        };
        let event = Event {
            id: self.id.to_string(),
            name: announcement.action.name().to_owned(),
            data: announcement.route,
        };
        self.id += 1;
        Some(event.encode())
    }
}
