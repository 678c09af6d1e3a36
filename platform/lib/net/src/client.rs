//! The HTTPS client of every component: HTTP/1.1 over TLS, with one request at a time on a connection.
//!
//! Each client keeps one connection for the next request to its server, and not for longer than [`MAX_AGE`]. The
//! connection has no task of its own: the caller's future moves its bytes, so that a call which is dropped closes its
//! connection and leaves nothing behind. Only a request without effects is made on a kept connection. If the kept
//! connection gives no answer, the request is made once more on a new one.
//!
//! [`HttpsClient::send`] reads the whole answer within [`AnswerLimits`]. [`HttpsClient::open`] returns the answer's
//! body as a stream and leaves deadlines to the caller.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_error::{Classify, ErrorKind, chain};
use weir_tls::{ALPN_HTTP1, ClientTls, TlsError, server_name};

mod connection;

pub use connection::AnswerBody;
use connection::Connection;

/// How long a connection is used before a new one is made, so that a changed certificate or address takes effect.
const MAX_AGE: Duration = Duration::from_secs(300);

/// How long TCP and TLS may take to connect. It is separate from the deadline of a call, which may be long: where there
/// is no server, the caller learns it soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes are read of a refusal's body (status 400 and above). The rest is cut off, because the beginning says
/// why.
const MAX_REFUSAL: usize = 64 * 1024;

/// How many bytes are allocated at most for a body whose length was announced, before any of it has arrived.
const MAX_PREALLOCATED: usize = 4 << 20;

/// The limits of one call.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLimits {
    /// How long the call may take, from connecting to the end of the answer.
    pub deadline: Duration,
    /// The largest body of the answer, in bytes.
    pub body: usize,
}

/// Why there is no answer. The texts show what the peer and the system said, and nothing of the request, which may
/// contain secrets.
#[derive(Debug, Error)]
pub enum HttpsError {
    /// The URL is not that of an HTTPS server.
    #[error("`{0}` is no address of an HTTPS server")]
    Address(String),
    /// The server could not be reached, or TLS failed.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The connection broke before the answer was read.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    /// The answer's body is larger than the limit.
    #[error("the answer is larger than `{0}` bytes")]
    TooLarge(usize),
    /// The answer did not arrive before the deadline.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
}

impl HttpsError {
    /// The text of the error with its causes.
    #[must_use]
    pub fn reason(&self) -> String {
        chain(self)
    }
}

impl Classify for HttpsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Address(_) => ErrorKind::InvalidInput,
            Self::Connect(_) | Self::Broken(_) => ErrorKind::Unavailable,
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::Late(_) => ErrorKind::Timeout,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Broken(_) | Self::Late(_))
    }
}

/// A client of HTTPS servers. Calls may be made concurrently; each then has a connection of its own.
#[derive(Debug)]
pub struct HttpsClient {
    tls: ClientTls,
    /// The name that a server's certificate must carry. `None` means the host of the URL.
    server_name: Option<ServerName<'static>>,
    kept: Mutex<Option<KeptConnection>>,
}

/// A connection without a request under way, kept for the next request to its server.
#[derive(Debug)]
struct KeptConnection {
    authority: Authority,
    connection: Connection,
}

/// The server of a request.
struct Destination {
    authority: Authority,
    host: String,
    port: u16,
}

impl HttpsClient {
    /// A client with the trust and the certificate of `tls`. The server's certificate must carry the host of the URL.
    #[must_use]
    pub fn new(tls: &ClientTls) -> Self {
        Self {
            tls: tls.with_alpn(&[ALPN_HTTP1]),
            server_name: None,
            kept: Mutex::new(None),
        }
    }

    /// A client of servers whose certificate carries `name`, whatever the host of the URL is.
    ///
    /// # Errors
    /// When `name` is no name that a certificate can carry.
    pub fn of(name: &str, tls: &ClientTls) -> Result<Self, TlsError> {
        Ok(Self {
            server_name: Some(server_name(name)?),
            ..Self::new(tls)
        })
    }

    /// Makes a request, whose URI is the whole URL, and reads the answer. Of the body of a refusal only the beginning
    /// is read.
    ///
    /// # Errors
    /// When there is no answer within the limits. An answer with any status is no error.
    pub async fn send(&self, request: Request<Bytes>, limits: AnswerLimits) -> Result<Response<Bytes>, HttpsError> {
        // In a box, because a TLS handshake has a large state, which would be a part of every future that makes a call.
        let exchange = timeout(limits.deadline, Box::pin(self.exchange(request, limits.body)));
        exchange.await.unwrap_or(Err(HttpsError::Late(limits.deadline)))
    }

    /// Makes a request, whose URI is the whole URL, and returns when the head of the answer has arrived. The connection
    /// is closed when the body is dropped.
    ///
    /// # Errors
    /// When the server cannot be reached or closes the connection.
    pub async fn open(&self, request: Request<Bytes>) -> Result<Response<AnswerBody>, HttpsError> {
        let destination = Destination::of(request.uri())?;
        self.ask(request, &destination).await
    }

    async fn exchange(&self, request: Request<Bytes>, most: usize) -> Result<Response<Bytes>, HttpsError> {
        let destination = Destination::of(request.uri())?;
        let answer = self.ask(request, &destination).await?;
        let (head, mut body) = answer.into_parts();
        let is_refusal = head.status.is_client_error() || head.status.is_server_error();
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        // An announced length is only a promise, so not much is allocated for it.
        let mut read = BytesMut::with_capacity(announced.min(most).min(MAX_PREALLOCATED));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(HttpsError::Broken)?.into_data() else {
                continue;
            };
            let room = if is_refusal { MAX_REFUSAL } else { most } - read.len();
            if data.len() <= room {
                read.extend_from_slice(&data);
            } else if is_refusal {
                read.extend_from_slice(&data[..room]);
                // The rest of the body is unread, so the connection cannot be kept.
                return Ok(Response::from_parts(head, read.freeze()));
            } else {
                return Err(HttpsError::TooLarge(most));
            }
        }
        // Only here is the answer read to its end, so only here can the connection carry another request.
        *self.kept.lock() = Some(KeptConnection {
            authority: destination.authority,
            connection: body.into_connection(),
        });
        Ok(Response::from_parts(head, read.freeze()))
    }

    async fn ask(
        &self,
        request: Request<Bytes>,
        destination: &Destination,
    ) -> Result<Response<AnswerBody>, HttpsError> {
        let request = destination.origin_form(request)?;
        // A server may close a kept connection at any moment, and then it is unknown whether it has handled the
        // request. A request that could have an effect is therefore always made on a new connection.
        if request.method().is_safe()
            && let Some(mut connection) = self.kept(&destination.authority)
            && connection.is_open().await
            && let Ok(answer) = connection.ask(request.clone()).await
        {
            return Ok(answer);
        }
        let connection = self.connect(destination).await?;
        connection.ask(request).await.map_err(HttpsError::Broken)
    }

    /// Takes the kept connection, if it goes to this server and is not too old.
    fn kept(&self, authority: &Authority) -> Option<Connection> {
        let KeptConnection {
            authority: to,
            connection,
        } = self.kept.lock().take()?;
        (to == *authority && connection.opened.elapsed() < MAX_AGE).then_some(connection)
    }

    async fn connect(&self, destination: &Destination) -> Result<Connection, HttpsError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(&destination.host)
                .map_err(|error| HttpsError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        };
        let connecting = async {
            let stream = TcpStream::connect((&*destination.host, destination.port)).await?;
            // A request is written as a whole. The kernel shall not hold its end back to wait for more.
            stream.set_nodelay(true)?;
            self.tls.connector().connect(name, stream).await
        };
        let stream = timeout(CONNECT_TIMEOUT, connecting).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(HttpsError::Connect)?;
        Connection::over(stream).await.map_err(HttpsError::Broken)
    }
}

impl Destination {
    fn of(url: &Uri) -> Result<Self, HttpsError> {
        let wrong = || HttpsError::Address(url.host().unwrap_or_default().to_owned());
        let authority = url.authority().ok_or_else(wrong)?;
        if url.scheme_str() != Some("https") || authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            authority: authority.clone(),
            // An IPv6 address has brackets in a URL, and none where it is resolved.
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(443),
        })
    }

    /// Rewrites a request as HTTP/1.1 sends it: only the path in the first line, and the server's name in the `host`
    /// header, unless the caller has set one.
    fn origin_form(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpsError> {
        let wrong = || HttpsError::Address(self.host.clone());
        let mut request = request.map(Full::new);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        // A URL may have a user name and a password before the host, which must not go into the header.
        let host = self.authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| wrong())?;
        request.headers_mut().entry(header::HOST).or_insert(host);
        Ok(request)
    }
}
