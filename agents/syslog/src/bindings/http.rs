//! The HTTP client of the binding cache. It verifies the cache by its name over mTLS.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use thiserror::Error;
use weir_config::PeerAddr;
use weir_net::{AnswerLimits, HttpsClient, HttpsError};
use weir_tls::{ClientTls, TlsError};

/// How long an answer may take, not counting the time that the cache may wait for a change.
const ANSWER: Duration = Duration::from_secs(30);

/// The size in bytes of the largest list that is read: 256 MiB.
const MAX_BODY: usize = 256 << 20;

/// The reason for which there is no answer.
#[derive(Debug, Error)]
pub(super) enum CacheError {
    #[error("it gives no answer: {}", .0.reason())]
    Https(HttpsError),
    #[error("it cannot be asked: {0}")]
    Request(#[from] http::Error),
    #[error("it answered with HTTP status {0}")]
    Status(StatusCode),
}

/// An answer of the cache.
#[derive(Debug)]
pub(super) enum Answer {
    /// The list, and its `ETag` if the cache sends one.
    List { body: Bytes, etag: Option<String> },
    /// The list still has the `ETag` that was sent with the request.
    Unchanged,
}

/// A client that fetches one list.
pub(super) struct CacheClient {
    /// `https://host:port`.
    url: String,
    server_name: String,
    https: HttpsClient,
}

impl CacheClient {
    pub(super) fn new(address: &PeerAddr, server_name: &str, tls: &ClientTls) -> Result<Self, TlsError> {
        Ok(Self {
            url: format!("https://{address}"),
            server_name: server_name.to_owned(),
            https: HttpsClient::of(server_name, tls)?,
        })
    }

    /// Fetches the list once. With `wait`, the cache may delay its answer by so much until the list differs from
    /// `etag`.
    pub(super) async fn get(
        &self,
        path: &str,
        etag: Option<&str>,
        wait: Option<Duration>,
    ) -> Result<Answer, CacheError> {
        let mut request = Request::get(format!("{}{path}", self.url))
            .header(header::HOST, &self.server_name)
            .header(header::ACCEPT, "application/json");
        // A tag that is no header value is as good as none.
        if let Some(etag) = etag.and_then(|etag| header::HeaderValue::from_str(etag).ok()) {
            request = request.header(header::IF_NONE_MATCH, etag);
            if let Some(wait) = wait {
                request = request.header("Prefer", format!("wait={}", wait.as_secs()));
            }
        }
        let limits = AnswerLimits {
            deadline: ANSWER + wait.unwrap_or_default(),
            body: MAX_BODY,
        };
        let answer = self.https.send(request.body(Bytes::new())?, limits).await;
        let (head, body) = answer.map_err(CacheError::Https)?.into_parts();
        match head.status {
            StatusCode::OK => Ok(Answer::List {
                body,
                etag: tag(&head.headers),
            }),
            StatusCode::NOT_MODIFIED if etag.is_some() => Ok(Answer::Unchanged),
            other => Err(CacheError::Status(other)),
        }
    }
}

fn tag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(header::ETAG)?.to_str().ok()?;
    Some(tag.to_owned())
}
