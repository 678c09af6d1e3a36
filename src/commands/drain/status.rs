//! The status of drains from the syslog agent, and the refusals of the binding cache.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weir_error::ErrorKind;

use crate::client::{Stack, http as client};
use crate::failure::Failure;

pub(super) use weir_agents_binding_cache::status::Status as CacheStatus;

/// The key of the syslog agent's port for its status.
const AGENT: &str = "syslog_agent_status";
/// The most bytes of an answer, enough for a hundred thousand drains.
const MAX_BODY: usize = 256 << 20;

/// The time after which a component on this machine counts as not answering.
const DEADLINE: Duration = Duration::from_secs(10);

/// The state of a drain that was added and that the agent does not know.
pub(super) const UNKNOWN: &str = "unknown";

/// The status of a drain as the agent reports it. Times have the form of RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Drain {
    /// The id of the binding.
    pub(crate) binding: String,
    /// The source whose lines are sent.
    pub(crate) app: String,
    /// The URL without its secrets.
    pub(crate) url: String,
    pub(crate) state: String,
    pub(crate) since: Option<String>,
    pub(crate) waiting_lines: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) lost: u64,
    pub(crate) lag_ms: f64,
    pub(crate) last_error: Option<String>,
    pub(crate) next_try: Option<String>,
}

impl Drain {
    /// Whether the agent serves the drain.
    pub(super) fn is_bound(&self) -> bool {
        self.state != "removed" && self.state != UNKNOWN
    }

    /// Whether the drain needs attention.
    pub(crate) fn is_in_trouble(&self) -> bool {
        !matches!(self.state.as_str(), "flowing" | "removed")
            && (self.state != "connecting" || self.last_error.is_some())
    }
}

/// Whether a failure may pass, because a component is restarting.
pub(super) fn is_passing(failure: &Failure) -> bool {
    matches!(failure.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// Returns the status of all drains of the syslog agent.
pub(super) async fn drains(stack: &Stack) -> Result<Vec<Drain>, Failure> {
    get(stack, &format!("{}/v1/drains", stack.endpoints.address(AGENT)?)).await
}

/// Returns the status of the binding cache.
pub(super) async fn cache(stack: &Stack) -> Result<CacheStatus, Failure> {
    get(
        stack,
        &format!("{}/v1/status", stack.endpoints.address("binding_cache")?),
    )
    .await
}

/// Tells the syslog agent that drains at this address can be reached, so that it retries them at once.
pub(super) async fn reached(stack: &Stack, place: &str) -> Result<(), Failure> {
    let agent = stack.endpoints.address(AGENT)?;
    let url = format!("{agent}/v1/drains/reached?address={place}");
    ask(stack, Request::post(&url), &url).await.map(drop)
}

async fn get<T: DeserializeOwned>(stack: &Stack, url: &str) -> Result<T, Failure> {
    let text = ask(stack, Request::get(url), url).await?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(ErrorKind::Internal, format!("`{url}`: answer cannot be read: {error}")))
}

/// Sends a request to a component and returns the body of the answer.
async fn ask(stack: &Stack, request: http::request::Builder, url: &str) -> Result<String, Failure> {
    let request = request
        .body(Bytes::new())
        .map_err(|error| Failure::new(ErrorKind::Internal, format!("request: {error}")))?;
    let asking = async {
        let answer = client::send(&stack.tls, request).await?;
        let status = answer.status();
        let text = client::text(answer, MAX_BODY).await?;
        if status.is_success() {
            return Ok(text);
        }
        let kind = ErrorKind::from_http(status).unwrap_or(ErrorKind::Unavailable);
        Err(Failure::new(kind, format!("`{url}`: {status}")))
    };
    let text = tokio::time::timeout(DEADLINE, asking).await.unwrap_or_else(|_| {
        Err(Failure::new(
            ErrorKind::Timeout,
            format!("`{url}`: no answer within 10 s"),
        ))
    });
    text.map_err(|failure| failure.with_hint("is the stack well? `weir doctor` looks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of the agent is read, with `null` as absent, and trouble is recognised.
    #[test]
    fn rows_are_read() {
        let text = r#"{"binding":"ab","app":"web","url":"syslog://h:1","state":"retrying","since":"2026-01-03T10:11:12.345Z",
            "waiting_lines":3,"waiting_bytes":300,"lost":0,"last_error":"refused","next_try":null,"lag_ms":1500,
            "reported_at":"2026-01-03T10:11:12.345Z"}"#;
        let drain: Drain = serde_json::from_str(text).expect("a row");
        assert_eq!(
            (drain.app.as_str(), drain.waiting_lines, drain.next_try.as_deref()),
            ("web", 3, None)
        );
        assert!(drain.is_bound() && drain.is_in_trouble());
        let state = |state: &str| Drain {
            state: state.to_owned(),
            ..Drain::default()
        };
        assert!(!state("connecting").is_in_trouble() && !state("flowing").is_in_trouble());
        assert!(state("over_limit").is_in_trouble());
        assert!(!state("removed").is_bound() && !state(UNKNOWN).is_bound());
    }
}
