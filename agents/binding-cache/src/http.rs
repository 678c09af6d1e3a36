//! The HTTP interface for the syslog agents (logging §12), over mTLS.
//!
//! - `GET /v2/bindings` and `GET /v2/aggregate` return the lists with an `ETag`. A request with a current
//!   `If-None-Match` gets 304. With `Prefer: wait=SECONDS` (RFC 7240) the answer is delayed until the list changes, for
//!   at most a minute. So agents learn of a new drain at once. While a list is not completely known, the answer is 503
//!   with `Retry-After`.
//! - `GET /v1/status` returns how recent the lists are and what is wrong with which drain ([`crate::status`]).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::{Instant, timeout_at};
use weir_service::Shutdown;

use crate::keeper::Outputs;
use crate::list::{Document, Published};

/// The longest time for which an answer is delayed.
const MAX_WAIT: Duration = Duration::from_secs(60);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The state that the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct AgentApi {
    pub(crate) outputs: Outputs,
    pub(crate) shutdown: Shutdown,
}

impl AgentApi {
    /// Returns the routes.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/v2/bindings", get(bindings))
            .route("/v2/aggregate", get(aggregate))
            .route("/v1/status", get(status))
            .with_state(self)
    }
}

async fn bindings(State(api): State<AgentApi>, headers: HeaderMap) -> Response {
    list(api.outputs.bindings, &api.shutdown, &headers).await
}

async fn aggregate(State(api): State<AgentApi>, headers: HeaderMap) -> Response {
    list(api.outputs.aggregate, &api.shutdown, &headers).await
}

async fn status(State(api): State<AgentApi>) -> Response {
    let status = api.outputs.status.lock().clone();
    axum::Json(status).into_response()
}

async fn list(mut published: Published, shutdown: &Shutdown, headers: &HeaderMap) -> Response {
    let wait = wait(headers);
    // Without a wish to wait, the deadline is now, and the loop ends in its first round.
    let deadline = Instant::now() + wait.unwrap_or_default();
    let mut answer = loop {
        let current = published.borrow_and_update().clone();
        match current {
            Some(document) if !is_known(headers, &document.etag) => break full(&document),
            Some(document) if wait.is_none() => break not_modified(&document),
            None if wait.is_none() => break unavailable(),
            _ => {}
        }
        // A cache that is stopping answers waiting agents at once.
        let changed = shutdown
            .unless_requested(timeout_at(deadline, published.changed()))
            .await;
        // The deadline has passed, or the cache stops. What is known is answered, even if it is nothing.
        if !matches!(changed, Some(Ok(Ok(())))) {
            let current = published.borrow().clone();
            break current.map_or_else(unavailable, |document| not_modified(&document));
        }
    };
    if let Some(wait) = wait
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
    {
        answer.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    answer
}

fn full(document: &Arc<Document>) -> Response {
    let mut answer = document.body.clone().into_response();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    tagged(answer, document)
}

fn not_modified(document: &Arc<Document>) -> Response {
    tagged(StatusCode::NOT_MODIFIED.into_response(), document)
}

fn tagged(mut answer: Response, document: &Arc<Document>) -> Response {
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        answer.headers_mut().insert(header::ETAG, etag);
    }
    // Bindings contain private keys, so nothing between the cache and the agent may store them.
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
    answer
}

fn unavailable() -> Response {
    let text = "the list is not known yet: a source of drains has not been read, see /v1/status\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], text).into_response()
}

/// Returns whether the client has the list with this `ETag`.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|one| one.trim())
        // `W/` marks a weak tag. A proxy that compresses the answer may have added it.
        .any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// Returns how long the client prefers to wait (RFC 7240 §4.3).
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let wait = preferences.flat_map(|value| value.split([',', ';'])).find_map(|one| {
        let (name, value) = one.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then_some(value)
    })?;
    let seconds: u64 = wait.trim().trim_matches('"').parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use weir_service::Shutdown;

    use super::*;
    use crate::list::publish;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn document(list: &[&str]) -> Document {
        Document::of(&list).unwrap()
    }

    /// The preference is recognised in all its forms, and a wait is bounded.
    #[test]
    fn preferences_are_read() {
        let seconds = |text: &str| wait(&headers(&[("prefer", text)])).map(|wait| wait.as_secs());
        assert_eq!(seconds("wait=20"), Some(20));
        assert_eq!(seconds("respond-async, Wait = \"5\""), Some(5));
        assert_eq!(seconds("wait=100000"), Some(60));
        for none in ["wait", "wait=soon", "return=minimal"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    /// A list that the client has is not sent again. With a wait, the answer comes with a change or when the time is
    /// up.
    #[tokio::test(start_paused = true)]
    async fn a_known_list_is_answered_when_it_changes() {
        let (sender, receiver) = watch::channel(None);
        let (_trigger, shutdown) = Shutdown::new();
        let ask = |pairs: &[(&'static str, &str)]| {
            let (receiver, shutdown, headers) = (receiver.clone(), shutdown.clone(), headers(pairs));
            async move { list(receiver, &shutdown, &headers).await }
        };
        let early = ask(&[]).await;
        assert_eq!(
            (early.status(), early.headers()["retry-after"].as_bytes()),
            (StatusCode::SERVICE_UNAVAILABLE, &b"1"[..])
        );
        publish(&sender, document(&["a"]));
        let first = ask(&[("prefer", "wait=30")]).await;
        assert_eq!(first.status(), StatusCode::OK, "what is not known is sent at once");
        let etag = first.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(
            ask(&[("if-none-match", &etag)]).await.status(),
            StatusCode::NOT_MODIFIED
        );
        let both = format!("\"x\", W/{etag}");
        assert_eq!(
            ask(&[("if-none-match", &both)]).await.status(),
            StatusCode::NOT_MODIFIED
        );

        let started = Instant::now();
        let known = [("if-none-match", etag.as_str()), ("prefer", "wait=30")];
        let waited = ask(&known).await;
        assert_eq!(waited.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(started.elapsed().as_secs(), 30);
        assert_eq!(waited.headers()["preference-applied"], "wait=30");

        let waiting = tokio::spawn(ask(&known));
        tokio::task::yield_now().await;
        publish(&sender, document(&["b"]));
        let started = Instant::now();
        assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
        assert!(started.elapsed() < Duration::from_secs(1));
    }

    /// A cache that is stopping answers waiting clients.
    #[tokio::test(start_paused = true)]
    async fn a_stop_answers_waiting_clients() {
        let (_sender, receiver) = watch::channel(Some(Arc::new(document(&["a"]))));
        let etag = document(&["a"]).etag;
        let (trigger, shutdown) = Shutdown::new();
        let started = Instant::now();
        let headers = headers(&[("if-none-match", &etag), ("prefer", "wait=30")]);
        let waiting = tokio::spawn(async move { list(receiver, &shutdown, &headers).await });
        tokio::task::yield_now().await;
        trigger.fire();
        assert_eq!(waiting.await.unwrap().status(), StatusCode::NOT_MODIFIED);
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
