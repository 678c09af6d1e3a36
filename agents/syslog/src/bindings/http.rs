//! The HTTP client of the binding cache. It keeps one connection, and verifies the cache by its name over mTLS.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use weir_config::PeerAddr;
use weir_service::Tasks;
use weir_tls::{ALPN_HTTP1, ClientTls, TlsError, server_name};

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take, not counting the time that the cache may wait for a change.
const ANSWER: Duration = Duration::from_secs(30);

/// The size in bytes of the largest list that is read: 256 MiB.
const MAX_BODY: usize = 256 << 20;

/// The reason for which there is no answer.
#[derive(Debug, Error)]
pub(super) enum CacheError {
    #[error("cannot connect to it: {0}")]
    Connect(std::io::Error),
    #[error("it did not answer in time")]
    Late,
    #[error("it is not fit for a connection: {0}")]
    Tls(#[from] TlsError),
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("its answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
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

/// A connection, and the task that drives it. Dropping it ends both.
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A client that fetches one list.
pub(super) struct CacheClient {
    address: PeerAddr,
    server_name: String,
    tls: ClientTls,
    tasks: Tasks,
    connection: Option<Connection>,
}

impl CacheClient {
    pub(super) fn new(address: &PeerAddr, server_name: &str, tls: &ClientTls, tasks: &Tasks) -> Self {
        Self {
            address: address.clone(),
            server_name: server_name.to_owned(),
            tls: tls.with_alpn(&[ALPN_HTTP1]),
            tasks: tasks.clone(),
            connection: None,
        }
    }

    /// Fetches the list once. With `wait`, the cache may delay its answer by so much until the list differs from
    /// `etag`.
    pub(super) async fn get(
        &mut self,
        path: &str,
        etag: Option<&str>,
        wait: Option<Duration>,
    ) -> Result<Answer, CacheError> {
        let deadline = ANSWER + wait.unwrap_or_default();
        match timeout(deadline, self.ask(path, etag, wait)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.connection = None;
                Err(error)
            }
            Err(_) => {
                self.connection = None;
                Err(CacheError::Late)
            }
        }
    }

    async fn ask(&mut self, path: &str, etag: Option<&str>, wait: Option<Duration>) -> Result<Answer, CacheError> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.sender.is_closed() => connection,
            _ => self.connect().await?,
        };
        let connection = self.connection.insert(connection);
        connection.sender.ready().await?;
        let mut request = Request::get(path)
            .header(header::HOST, &self.server_name)
            .header(header::ACCEPT, "application/json");
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
            if let Some(wait) = wait {
                request = request.header("Prefer", format!("wait={}", wait.as_secs()));
            }
        }
        // Only a tag that the cache made up can be no valid header value. Then the list is requested without it.
        let request = request
            .body(Empty::new())
            .or_else(|_| {
                Request::get(path)
                    .header(header::HOST, &self.server_name)
                    .body(Empty::new())
            })
            .map_err(|error| CacheError::Body(error.into()))?;
        let answer = connection.sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        // The body is read to its end even if the status is an error, so that the connection can be used again.
        #[expect(
            clippy::disallowed_methods,
            reason = "limited, and the sender is a part of the platform"
        )]
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(CacheError::Body)?
            .to_bytes();
        match head.status {
            StatusCode::OK => Ok(Answer::List {
                body,
                etag: tag(&head.headers),
            }),
            StatusCode::NOT_MODIFIED if etag.is_some() => Ok(Answer::Unchanged),
            other => Err(CacheError::Status(other)),
        }
    }

    async fn connect(&self) -> Result<Connection, CacheError> {
        let name = server_name(&self.server_name)?;
        let connecting = async {
            let stream = TcpStream::connect((self.address.host(), self.address.port())).await?;
            stream.set_nodelay(true)?;
            self.tls.connector().connect(name, stream).await
        };
        let stream = timeout(CONNECT, connecting).await.map_err(|_| CacheError::Late)?;
        let (sender, driver) = handshake(TokioIo::new(stream.map_err(CacheError::Connect)?)).await?;
        let driver = self.tasks.spawn("binding cache connection", driver).abort_handle();
        Ok(Connection { sender, driver })
    }
}

fn tag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(header::ETAG)?.to_str().ok()?;
    Some(tag.to_owned())
}
