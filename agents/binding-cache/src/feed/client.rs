//! Requests the pages of one poll over mTLS.
//!
//! Each request has a deadline that includes connecting, and the size of all pages together is bounded.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use weir_drain::feed::Page;
use weir_net::{AnswerLimits, HttpsClient, HttpsError};
use weir_service::Tasks;

use super::pages::Pages;
use super::{Endpoint, FeedError};

/// The path of the feed.
const PATH: &str = "/internal/v5/syslog_drain_urls";

/// The number of characters of the body of an error that are shown.
const SHOWN: usize = 200;

/// A client for the pages of one list.
pub(super) struct Client<'f> {
    endpoint: &'f Endpoint,
    https: &'f HttpsClient,
    tasks: &'f Tasks,
    /// The number of bytes that this poll may still receive.
    bytes_left: usize,
}

impl<'f> Client<'f> {
    pub(super) const fn new(endpoint: &'f Endpoint, https: &'f HttpsClient, tasks: &'f Tasks) -> Self {
        Self {
            endpoint,
            https,
            tasks,
            bytes_left: endpoint.max_bytes,
        }
    }

    async fn request(&mut self, offset: u64) -> Result<Bytes, FeedError> {
        let Endpoint {
            path,
            batch_size,
            timeout,
            max_bytes,
            ..
        } = self.endpoint;
        let address = self.endpoint.address();
        let url = format!("https://{address}{path}{PATH}?batch_size={batch_size}&next_id={offset}");
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "weir-binding-cache")
            .body(Bytes::new())
            .map_err(|error| FeedError::Malformed(error.to_string()))?;
        let limits = AnswerLimits {
            deadline: *timeout,
            body: self.bytes_left,
        };
        let answer = self.https.send(request, limits).await.map_err(|error| match error {
            HttpsError::Late(timeout) => FeedError::Timeout(timeout),
            HttpsError::TooLarge(_) => FeedError::TooLarge(*max_bytes),
            HttpsError::Broken(error) => FeedError::Broken(weir_error::chain(&error)),
            other => FeedError::Unreachable {
                address,
                reason: other.reason(),
            },
        })?;
        let status = answer.status();
        let body = answer.into_body();
        if status != StatusCode::OK {
            return Err(FeedError::Status {
                status: status.as_u16(),
                body: printable(&body),
            });
        }
        self.bytes_left -= body.len();
        Ok(body)
    }
}

impl Pages for Client<'_> {
    async fn page(&mut self, offset: u64) -> Result<Page, FeedError> {
        let body = self.request(offset).await?;
        // Parsing a large page would block a worker for too long.
        let parsing = self
            .tasks
            .spawn_blocking("read drains", move || serde_json::from_slice::<Page>(&body));
        match parsing.await {
            Ok(Ok(page)) => Ok(page),
            // The error gives the position and not the text, because that contains secrets.
            Ok(Err(error)) => Err(FeedError::Malformed(format!(
                "JSON of another form at line {} column {}",
                error.line(),
                error.column()
            ))),
            Err(error) => Err(FeedError::Malformed(error.to_string())),
        }
    }

    fn restart(&mut self) {
        self.bytes_left = self.endpoint.max_bytes;
    }
}

/// Returns the first characters of an error body, without control characters.
fn printable(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .take(SHOWN)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    text.trim().to_owned()
}
