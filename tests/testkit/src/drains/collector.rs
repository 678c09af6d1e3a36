//! A receiver of lines over HTTPS, with faults that the test plans.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::lines::Lines;
use super::ports::steady_port;
use crate::eventually;

/// The largest body that is accepted, in bytes.
const MAX_BODY: usize = 16 << 20;

/// The number of requests that are kept.
const KEPT_REQUESTS: usize = 10_000;

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The lines are accepted with 200.
    None,
    /// The lines are accepted with 200 after this time.
    Slow(Duration),
    /// The request is refused with 429, and with `Retry-After` in seconds if there is a value.
    TooMany(Option<u64>),
    /// The request is refused with this status.
    Status(u16),
    /// The request is refused with this status if its body contains a line with one of these numbers.
    Lines(u16, &'static [u64]),
    /// The connection is closed in the middle of the body.
    Reset,
    /// The lines are accepted, and the connection is closed before the answer is sent.
    TakenThenReset,
    /// The request is read and never answered.
    Silent,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The version of HTTP.
    pub version: Version,
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub target: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The part of the body that was read.
    pub body: Bytes,
    /// How the request was answered.
    pub fault: Fault,
    /// When the request arrived.
    pub at: Instant,
}

impl Request {
    /// Returns the value of a header, or an empty text if the header is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// The collector. It keeps its port while it is stopped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    tls: watch::Sender<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    lines: Lines,
    accepted: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The answer to every request for which none is planned.
    usual: Fault,
    /// The planned answers to the next requests, in order.
    planned: VecDeque<Fault>,
    requests: Vec<Request>,
    count: u64,
    /// The idempotency keys of accepted requests. The lines of a repeated request are not counted again.
    keys: BTreeSet<String>,
    repeated: u64,
}

impl Collector {
    /// Starts a collector with this TLS configuration. Its ALPN protocols decide between HTTP/1.1 and HTTP/2.
    ///
    /// # Errors
    /// Fails when no port is free.
    pub async fn start(tls: Arc<ServerConfig>) -> anyhow::Result<Self> {
        let mut collector = Self {
            address: steady_port()?,
            tls: watch::Sender::new(tls),
            shared: Arc::new(Shared {
                lines: Lines::default(),
                accepted: AtomicU64::new(0),
                state: Mutex::new(State {
                    usual: Fault::None,
                    planned: VecDeque::new(),
                    requests: Vec::new(),
                    count: 0,
                    keys: BTreeSet::new(),
                    repeated: 0,
                }),
            }),
            task: None,
        };
        collector.resume().await?;
        Ok(collector)
    }

    /// Returns the drain URL with this scheme and path.
    #[must_use]
    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    /// Returns the accepted lines.
    #[must_use]
    pub fn lines(&self) -> &Lines {
        &self.shared.lines
    }

    /// Returns the number of accepted connections.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Returns the first requests, up to 10,000.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// Returns the number of requests.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.state().count
    }

    /// Returns the number of requests that repeat an accepted one, by their idempotency key.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.shared.state().repeated
    }

    /// Answers every further request with `fault`.
    pub fn always(&self, fault: Fault) {
        let mut state = self.shared.state();
        state.usual = fault;
        state.planned.clear();
    }

    /// Answers the next requests with `faults`, in order.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().planned.extend(faults);
    }

    /// Shows another certificate to new connections.
    pub fn set_tls(&self, tls: Arc<ServerConfig>) {
        self.tls.send_replace(tls);
    }

    /// Closes all connections, and refuses new ones.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            drop(task.await);
        }
    }

    /// Accepts connections again, at the same address.
    ///
    /// # Errors
    /// Fails when another program has taken the port.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        if self.task.is_some() {
            return Ok(());
        }
        let listener = eventually("the collector's port", async || TcpListener::bind(self.address).await).await?;
        let (tls, shared) = (self.tls.subscribe(), Arc::clone(&self.shared));
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    Some(_) = connections.join_next() => continue,
                };
                let Ok((stream, _)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                let (config, shared) = (Arc::clone(&tls.borrow()), Arc::clone(&shared));
                connections.spawn(async move { drop(serve(stream, config, shared).await) });
            }
        }));
        Ok(())
    }

    /// Waits until `count` different lines were accepted.
    ///
    /// # Errors
    /// Fails when they do not arrive in time.
    pub async fn wait_for_lines(&self, count: u64) -> anyhow::Result<()> {
        eventually("lines at the collector", async || {
            let got = self.lines().total();
            anyhow::ensure!(got >= count, "{got} of {count}, {} requests", self.count());
            Ok::<_, anyhow::Error>(())
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the answer to the next request.
    fn next(&self) -> Fault {
        let mut state = self.state();
        state.count += 1;
        let usual = state.usual;
        state.planned.pop_front().unwrap_or(usual)
    }

    fn keep(&self, request: Request) {
        let mut state = self.state();
        if state.requests.len() < KEPT_REQUESTS {
            state.requests.push(request);
        }
    }

    /// Counts the lines of a body, unless a request with this key was accepted before. Each message ends with a
    /// newline.
    fn take(&self, key: &str, body: &[u8]) {
        if !key.is_empty() {
            let mut state = self.state();
            if !state.keys.insert(key.to_owned()) {
                state.repeated += 1;
                return;
            }
        }
        for message in body.split_inclusive(|byte| *byte == b'\n') {
            self.lines.record(message);
        }
    }
}

async fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: Arc<Shared>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { answer(request, &shared).await }
    });
    // An error here is a planned fault, or concerns the client only.
    let served = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    served.map_err(|error| anyhow::anyhow!(error))
}

async fn answer(request: http::Request<Incoming>, shared: &Shared) -> io::Result<http::Response<Full<Bytes>>> {
    let fault = shared.next();
    let (parts, mut body) = request.into_parts();
    let mut kept = Request {
        version: parts.version,
        method: parts.method,
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: parts.headers,
        body: Bytes::new(),
        fault,
        at: Instant::now(),
    };
    if fault == Fault::Reset {
        if let Some(Ok(frame)) = body.frame().await {
            kept.body = frame.into_data().unwrap_or_default();
        }
        shared.keep(kept);
        return Err(io::Error::from(io::ErrorKind::ConnectionReset));
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Err(io::Error::other(error)),
    };
    kept.body = body.clone();
    let key = kept.header("idempotency-key").to_owned();
    shared.keep(kept);
    let mut response = http::Response::builder();
    let status = match fault {
        Fault::None => StatusCode::OK,
        Fault::Slow(delay) => {
            tokio::time::sleep(delay).await;
            StatusCode::OK
        }
        Fault::TooMany(after) => {
            if let Some(after) = after {
                response = response.header(RETRY_AFTER, after);
            }
            StatusCode::TOO_MANY_REQUESTS
        }
        Fault::Status(status) => StatusCode::from_u16(status).map_err(io::Error::other)?,
        Fault::Lines(status, lines) => {
            let text = String::from_utf8_lossy(&body);
            match lines.iter().any(|number| text.contains(&format!("#{number:012} "))) {
                true => StatusCode::from_u16(status).map_err(io::Error::other)?,
                false => StatusCode::OK,
            }
        }
        Fault::TakenThenReset => {
            shared.take(&key, &body);
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        Fault::Silent => never().await,
        Fault::Reset => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status.is_success() {
        shared.take(&key, &body);
    }
    let text = if status.is_success() {
        ""
    } else {
        "the collector was told to refuse\n"
    };
    response
        .status(status)
        .body(Full::new(Bytes::from_static(text.as_bytes())))
        .map_err(io::Error::other)
}

async fn never() -> StatusCode {
    match std::future::pending::<Infallible>().await {}
}
