//! The HTTPS client of every component: HTTP/1.1 over TLS, one request at a time on a connection.
//!
//! A connection is kept for the next request to its server, one by each client, and not for longer than [`LIFE`]. There is no
//! task beside it: the caller's own future moves its bytes, so a call that is dropped closes its connection and leaves
//! nothing behind. Only a request that has no effect is made on a kept connection, and once more on a new one if there was no
//! answer there.
//!
//! [`HttpsClient::send`] reads the whole answer within [`AnswerLimits`]; [`HttpsClient::open`] gives the answer's body as it
//! comes, and leaves deadlines to the caller.

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

/// How long a connection is used, so that a changed certificate or address comes into force.
const LIFE: Duration = Duration::from_secs(300);

/// How long it may take to connect, so that an answer that may take long is not waited for where there is no server.
const CONNECT: Duration = Duration::from_secs(10);

/// Bytes of the body of a refusal (400 and above) that are read. What is longer is cut there: the beginning says why.
const REFUSAL: usize = 64 * 1024;

/// Bytes that are set aside for a body at once, because its length was announced.
const RESERVED: usize = 4 << 20;

/// The limits of one call: its time, and the bytes of its answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLimits {
    /// How long the call may take, from connecting to the end of the answer.
    pub deadline: Duration,
    /// Most bytes of the answer's body.
    pub body: usize,
}

/// Why there is no answer. The texts show what the peer and the system said, and nothing of the request.
#[derive(Debug, Error)]
pub enum HttpsError {
    /// The URL names no HTTPS server.
    #[error("`{0}` is no address of an HTTPS server")]
    Address(String),
    /// There is no connection.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The connection broke before the answer was read.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    /// The answer's body has more bytes than are read.
    #[error("the answer is larger than `{0}` bytes")]
    TooLarge(usize),
    /// The answer was not there in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
}

impl HttpsError {
    /// The error with its causes.
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

/// A client of HTTPS servers. Calls may be made at the same time; each has a connection of its own.
#[derive(Debug)]
pub struct HttpsClient {
    tls: ClientTls,
    /// The name that a server's certificate must carry; `None` for that of the URL.
    server_name: Option<ServerName<'static>>,
    kept: Mutex<Option<Kept>>,
}

/// A connection on which nothing is under way.
#[derive(Debug)]
struct Kept {
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
    /// A client that trusts, and shows, what `tls` says. The host of a URL is the name that the server must have.
    #[must_use]
    pub fn new(tls: &ClientTls) -> Self {
        Self {
            tls: tls.with_alpn(&[ALPN_HTTP1]),
            server_name: None,
            kept: Mutex::new(None),
        }
    }

    /// A client of servers whose certificate carries `name`, whatever host the URL says.
    ///
    /// # Errors
    /// When it is no name that a certificate can carry.
    pub fn of(name: &str, tls: &ClientTls) -> Result<Self, TlsError> {
        Ok(Self {
            server_name: Some(server_name(name)?),
            ..Self::new(tls)
        })
    }

    /// Makes a request, whose URI is the whole URL, and reads the answer. Of a refusal's body only the beginning is read.
    ///
    /// # Errors
    /// When there is no answer within the limits. An answer with any status is no error.
    pub async fn send(&self, request: Request<Bytes>, limits: AnswerLimits) -> Result<Response<Bytes>, HttpsError> {
        // In a box: a TLS handshake has a large state, which would be a part of every future that makes a call.
        let exchange = timeout(limits.deadline, Box::pin(self.exchange(request, limits.body)));
        exchange.await.unwrap_or(Err(HttpsError::Late(limits.deadline)))
    }

    /// Makes a request, whose URI is the whole URL, and returns when the head of the answer is there. The connection is closed
    /// when the body is dropped.
    ///
    /// # Errors
    /// When the server cannot be reached or breaks off.
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
        let mut read = BytesMut::with_capacity(announced.min(most).min(RESERVED));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(HttpsError::Broken)?.into_data() else {
                continue;
            };
            let room = if is_refusal { REFUSAL } else { most } - read.len();
            if data.len() <= room {
                read.extend_from_slice(&data);
            } else if is_refusal {
                read.extend_from_slice(&data[..room]);
                return Ok(Response::from_parts(head, read.freeze()));
            } else {
                return Err(HttpsError::TooLarge(most));
            }
        }
        *self.kept.lock() = Some(Kept {
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
        // A server may close a kept connection at any moment, and then nobody knows what it has done: a request that could
        // have an effect has a connection of its own.
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

    /// The kept connection, if it goes to this server and is not too old.
    fn kept(&self, authority: &Authority) -> Option<Connection> {
        let Kept {
            authority: to,
            connection,
        } = self.kept.lock().take()?;
        (to == *authority && connection.opened.elapsed() < LIFE).then_some(connection)
    }

    async fn connect(&self, destination: &Destination) -> Result<Connection, HttpsError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(&destination.host)
                .map_err(|error| HttpsError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        };
        let connecting = async {
            let stream = TcpStream::connect((&*destination.host, destination.port)).await?;
            stream.set_nodelay(true)?;
            self.tls.connector().connect(name, stream).await
        };
        let stream = timeout(CONNECT, connecting).await;
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
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(443),
        })
    }

    /// What HTTP/1.1 wants in the first line is the path; the server's name goes into a header, unless the caller has put one
    /// there.
    fn origin_form(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpsError> {
        let wrong = || HttpsError::Address(self.host.clone());
        let mut request = request.map(Full::new);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        // A name and a password before the host are no part of its name.
        let host = self.authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| wrong())?;
        request.headers_mut().entry(header::HOST).or_insert(host);
        Ok(request)
    }
}
