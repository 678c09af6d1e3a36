//! Requests the pages of one poll over one mTLS connection.
//!
//! Each request has a deadline that includes connecting, and the size of all pages together is bounded. If the server
//! closed the connection between two pages, as many servers do, it is opened again once.

use std::future::poll_fn;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weir_drain::feed::Page;
use weir_service::Tasks;
use weir_tls::{ClientTls, server_name};

use super::pages::Pages;
use super::{Endpoint, FeedError};

/// The path of the feed.
const PATH: &str = "/internal/v5/syslog_drain_urls";

/// The number of bytes that are read of the body of an error, and the number of characters that are shown.
const MAX_ERROR: usize = 16 * 1024;
const SHOWN: usize = 200;

/// A client that connects when the first page is requested.
pub(super) struct Client<'f> {
    endpoint: &'f Endpoint,
    tls: &'f ClientTls,
    tasks: &'f Tasks,
    connection: Option<SendRequest<Empty<Bytes>>>,
    /// The number of bytes that this poll may still receive.
    bytes_left: usize,
}

impl<'f> Client<'f> {
    pub(super) const fn new(endpoint: &'f Endpoint, tls: &'f ClientTls, tasks: &'f Tasks) -> Self {
        Self {
            endpoint,
            tls,
            tasks,
            connection: None,
            bytes_left: endpoint.max_bytes,
        }
    }

    async fn request(&mut self, offset: u64) -> Result<Bytes, FeedError> {
        let Endpoint { path, batch_size, .. } = self.endpoint;
        let uri = format!("{path}{PATH}?batch_size={batch_size}&next_id={offset}");
        let reused = self.connection.is_some();
        let answer = match self.send(&uri).await {
            // The server closed the idle connection before it received the request, so the request may be repeated.
            Err(FeedError::Broken(_)) if reused => self.send(&uri).await?,
            answer => answer?,
        };
        let status = answer.status();
        let limit = if status == StatusCode::OK {
            self.bytes_left
        } else {
            MAX_ERROR
        };
        #[expect(clippy::disallowed_methods, reason = "the body is limited")]
        let body = Limited::new(answer.into_body(), limit).collect().await;
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() && status == StatusCode::OK => {
                return Err(FeedError::TooLarge(self.endpoint.max_bytes));
            }
            Err(_) if status != StatusCode::OK => Bytes::new(),
            Err(error) => return Err(FeedError::Broken(error.to_string())),
        };
        if status != StatusCode::OK {
            return Err(FeedError::Status {
                status: status.as_u16(),
                body: printable(&body),
            });
        }
        self.bytes_left -= body.len().min(self.bytes_left);
        Ok(body)
    }

    async fn send(&mut self, uri: &str) -> Result<http::Response<Incoming>, FeedError> {
        // Taken, so that a connection that fails in this request is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let request = Request::get(uri)
            .header(header::HOST, self.endpoint.address())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "weir-binding-cache")
            .body(Empty::new())
            .map_err(|error| FeedError::Malformed(error.to_string()))?;
        let broken = |error: hyper::Error| FeedError::Broken(error.to_string());
        poll_fn(|cx| connection.poll_ready(cx)).await.map_err(broken)?;
        let answer = connection.send_request(request).await.map_err(broken)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, FeedError> {
        let address = self.endpoint.address();
        let unreachable = |reason: String| FeedError::Unreachable {
            address: address.clone(),
            reason,
        };
        let name = server_name(&self.endpoint.server_name).map_err(|error| unreachable(error.to_string()))?;
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let stream = self.tls.connector().connect(name, stream).await;
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        // Errors of the connection appear as errors of its requests. The task ends when the sender is dropped.
        self.tasks.spawn("cloud controller connection", async move {
            drop(connection.await);
        });
        Ok(sender)
    }
}

impl Pages for Client<'_> {
    async fn page(&mut self, offset: u64) -> Result<Page, FeedError> {
        let timeout = self.endpoint.timeout;
        let body = tokio::time::timeout(timeout, self.request(offset))
            .await
            .map_err(|_| FeedError::Timeout(timeout))??;
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
