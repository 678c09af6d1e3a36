//! An agent under test, a binding cache that it asks, and two kinds of drains.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_agents_lib::testing::{PATIENCE, Pki};
use weir_agents_syslog::{Config, Error, RawCache, RawConfig, Server};
use weir_config::PeerAddr;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_flow::{Ledger, LedgerSnapshot, LogContext};
use weir_net::{RequestBody, serve_http};
use weir_rpc::producer::{Pace, Producer};
use weir_service::Trigger;
use weir_tls::{ServerTls, server_name};

pub(crate) const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Returns lines whose text is their number.
pub(crate) fn lines(source: &str, first: i64, count: i64) -> Batch {
    let mut builder = BatchBuilder::new();
    for number in first..first + count {
        builder.push_with(|out| {
            Writer::new(out)
                .timestamp(number)
                .source_id(source)
                .instance_id("0")
                .log(number.to_string().as_bytes(), Stream::Out);
        });
    }
    builder.finish()
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) status: SocketAddr,
    context: LogContext,
    trigger: Trigger,
    running: JoinHandle<Result<(), Error>>,
}

impl Agent {
    pub(crate) async fn start(pki: &Pki, state: &Path, raw: RawConfig) -> Self {
        let (trigger, context) = LogContext::in_memory("syslog-agent");
        let raw = RawConfig {
            listen: ANY.into(),
            status_listen: ANY.into(),
            identity: pki.agent.clone(),
            state_dir: state.to_owned(),
            ..raw
        };
        let server = Server::bind(Config::try_from(raw).unwrap(), context.clone())
            .await
            .unwrap();
        Self {
            address: server.local_addr(),
            status: server.status_addr(),
            context,
            trigger,
            running: tokio::spawn(server.run()),
        }
    }

    pub(crate) fn producer(&self, pki: &Pki) -> Producer {
        Producer::new(
            &pki.target(self.address),
            Ledger::in_memory("producer"),
            &self.context.tasks,
            Pace::default(),
        )
    }

    pub(crate) fn ledger(&self) -> LedgerSnapshot {
        self.context.ledger.snapshot()
    }

    pub(crate) fn lost_for(&self, reason: &str) -> u64 {
        let dropped = self.ledger().dropped;
        dropped
            .iter()
            .filter(|drop| drop.reason == reason)
            .map(|drop| drop.count)
            .sum()
    }

    /// Returns the rows of `GET /v1/drains` and their `ETag`.
    pub(crate) async fn rows(&self, pki: &Pki) -> (Vec<Value>, Option<String>) {
        let tls = pki.target(self.status).tls.with_alpn(&[b"http/1.1"]);
        let stream = tokio::net::TcpStream::connect(self.status).await.unwrap();
        let stream = tls
            .connector()
            .connect(server_name("metron").unwrap(), stream)
            .await
            .unwrap();
        let (mut sender, driver) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
        let driver = tokio::spawn(driver);
        let request = Request::get("/v1/drains")
            .header(header::HOST, "metron")
            .body(Full::<Bytes>::default())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let tag = answer
            .headers()
            .get(header::ETAG)
            .map(|tag| tag.to_str().unwrap().to_owned());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        driver.abort();
        (serde_json::from_slice(&body).unwrap(), tag)
    }

    /// Waits until the bindings with this `ETag` are in force. Returns the rows.
    pub(crate) async fn applied(&self, pki: &Pki, tag: &str) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (rows, applied) = self.rows(pki).await;
            if applied.as_deref() == Some(tag) {
                return rows;
            }
            assert!(tokio::time::Instant::now() < deadline, "{applied:?} instead of {tag}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the agent in order. Returns its ledger.
    pub(crate) async fn stop(self) -> LedgerSnapshot {
        self.trigger.fire();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.context.finish(PATIENCE).await.unwrap();
        self.context.ledger.snapshot()
    }
}

/// A binding cache whose lists a test sets.
pub(crate) struct Cache {
    pub(crate) address: SocketAddr,
    shared: Arc<CacheState>,
    trigger: Trigger,
    task: JoinHandle<()>,
}

struct CacheState {
    /// Whether it behaves like the original's: no `ETag`s and no waiting.
    plain: bool,
    lists: Mutex<(u64, Value, Value)>,
    changed: Notify,
    asked: AtomicUsize,
}

impl Cache {
    pub(crate) async fn start(pki: &Pki, plain: bool) -> Self {
        let shared = Arc::new(CacheState {
            plain,
            lists: Mutex::new((0, json!([]), json!([]))),
            changed: Notify::new(),
            asked: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = ServerTls::mutual(&pki.issue("cache", &["binding-cache"])).unwrap();
        let (trigger, context) = LogContext::in_memory("cache");
        let state = Arc::clone(&shared);
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(state.answer(&request).await) }
        });
        let task = tokio::spawn(async move {
            serve_http(listener, &tls, service, context.shutdown.clone(), &context.tasks).await;
        });
        Self {
            address,
            shared,
            trigger,
            task,
        }
    }

    /// Returns the configuration with which an agent asks this cache.
    pub(crate) fn config(&self) -> RawCache {
        RawCache {
            address: Some(PeerAddr::from(self.address)),
            poll: weir_config::Duration::from_millis(200),
            wait: weir_config::Duration::from_secs(20),
            ..RawCache::default()
        }
    }

    /// Changes the list of bindings. Returns its `ETag`.
    pub(crate) fn set(&self, bindings: Value) -> String {
        let mut lists = self.shared.lists.lock();
        lists.0 += 1;
        lists.1 = bindings;
        let tag = format!("\"{}\"", lists.0);
        drop(lists);
        self.shared.changed.notify_waiters();
        tag
    }

    pub(crate) fn set_aggregates(&self, aggregates: Value) {
        self.shared.lists.lock().2 = aggregates;
    }

    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    pub(crate) async fn stop(self) {
        self.trigger.fire();
        self.shared.changed.notify_waiters();
        self.task.abort();
        drop(self.task.await);
    }
}

impl CacheState {
    async fn answer(&self, request: &Request<RequestBody>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let aggregate = request.uri().path() == "/v2/aggregate";
        let known = request
            .headers()
            .get(header::IF_NONE_MATCH)
            .map(|tag| tag.to_str().unwrap().to_owned());
        let prefer = request
            .headers()
            .get("prefer")
            .map(|prefer| prefer.to_str().unwrap().to_owned());
        let wait: u64 = prefer
            .and_then(|prefer| prefer.strip_prefix("wait=").map(|wait| wait.parse().unwrap()))
            .unwrap_or(0);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(wait);
        loop {
            let changed = self.changed.notified();
            let (tag, body) = {
                let lists = self.lists.lock();
                let body = if aggregate { &lists.2 } else { &lists.1 };
                (format!("\"{}\"", lists.0), body.to_string())
            };
            if self.plain || known.as_ref() != Some(&tag) {
                let mut answer = Response::new(Full::new(Bytes::from(body)));
                if !self.plain {
                    answer.headers_mut().insert(header::ETAG, tag.parse().unwrap());
                }
                return answer;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                let mut answer = Response::new(Full::default());
                *answer.status_mut() = StatusCode::NOT_MODIFIED;
                return answer;
            }
        }
    }
}

/// Returns an item of a list: one URL for these apps.
pub(crate) fn item(url: &str, apps: &[&str], ca: &str) -> Value {
    let apps: Vec<_> = apps
        .iter()
        .map(|app| json!({"hostname": "org.space.app", "app_id": app}))
        .collect();
    json!({"url": url, "credentials": [{"cert": "", "key": "", "ca": ca, "apps": apps}]})
}

/// A TCP drain that keeps app and number of each line.
pub(crate) struct TcpDrain {
    pub(crate) port: u16,
    kept: Arc<Mutex<Vec<(String, i64)>>>,
    killed: CancellationToken,
    task: JoinHandle<()>,
}

impl TcpDrain {
    pub(crate) async fn start(port: u16) -> Self {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Ok(listener) => break listener,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let port = listener.local_addr().unwrap().port();
        let kept = Arc::<Mutex<Vec<_>>>::default();
        let keeping = Arc::clone(&kept);
        let killed = CancellationToken::new();
        let dying = killed.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Some(Ok((mut stream, _))) = dying.run_until_cancelled(listener.accept()).await {
                let (kept, dying) = (Arc::clone(&keeping), dying.clone());
                connections.spawn(async move {
                    let mut bytes = Vec::new();
                    loop {
                        let got = dying.run_until_cancelled(stream.read_buf(&mut bytes)).await;
                        let Ok(1..) = got.unwrap_or_else(|| stream.try_read_buf(&mut bytes)) else {
                            return;
                        };
                        let mut used = 0;
                        while let Some((message, size)) = framed(&bytes[used..]) {
                            used += size;
                            kept.lock().push(read(message));
                        }
                        bytes.drain(..used);
                    }
                });
            }
            connections.join_all().await;
        });
        Self {
            port,
            kept,
            killed,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("syslog://127.0.0.1:{}", self.port)
    }

    pub(crate) fn numbers(&self, app: &str) -> Vec<i64> {
        let kept = self.kept.lock();
        kept.iter()
            .filter(|(of, _)| of == app)
            .map(|(_, number)| *number)
            .collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.kept.lock().len()
    }

    /// Ends the drain and its connections. Bytes that it has not read are lost, as with any TCP receiver that is
    /// killed.
    pub(crate) async fn kill(self) {
        self.killed.cancel();
        drop(self.task.await);
    }
}

fn framed(bytes: &[u8]) -> Option<(&str, usize)> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    // A drain of the scheme `syslog` that receives a TLS handshake finds no frame in it.
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let message = bytes.get(space + 1..space + 1 + length)?;
    Some((std::str::from_utf8(message).unwrap(), space + 1 + length))
}

/// Returns app and number of a message. The number is -1 if the text is not a number.
fn read(message: &str) -> (String, i64) {
    let app = message.split(' ').nth(3).unwrap().to_owned();
    let number = message.trim_end().rsplit(' ').next().unwrap().parse().unwrap_or(-1);
    (app, number)
}

/// Returns the status with which a collector answers a body.
type Verdict = dyn Fn(&str) -> StatusCode + Send + Sync;

/// An HTTPS drain that answers as the test says, and keeps what it accepted.
pub(crate) struct Collector {
    pub(crate) port: u16,
    /// The PEM of the CA certificate of its certificate.
    pub(crate) ca: String,
    kept: Arc<Mutex<Vec<(String, i64)>>>,
    trigger: Trigger,
}

impl Collector {
    pub(crate) async fn start(pki: &Pki, verdict: impl Fn(&str) -> StatusCode + Send + Sync + 'static) -> Self {
        let identity = pki.issue("collector", &["localhost"]);
        let listener = TcpListener::bind(ANY).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = ServerTls::public(&identity.cert, &identity.key).unwrap();
        let kept = Arc::<Mutex<Vec<_>>>::default();
        let (trigger, context) = LogContext::in_memory("collector");
        let verdict: Arc<Verdict> = Arc::new(verdict);
        let keeping = Arc::clone(&kept);
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let (verdict, kept) = (Arc::clone(&verdict), Arc::clone(&keeping));
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body = std::str::from_utf8(&body).unwrap();
                let status = verdict(body);
                if status.is_success() {
                    kept.lock().extend(body.lines().map(read));
                }
                let mut answer = Response::new(Full::new(Bytes::from_static(b"because")));
                *answer.status_mut() = status;
                Ok::<_, Infallible>(answer)
            }
        });
        tokio::spawn(async move {
            serve_http(listener, &tls, service, context.shutdown.clone(), &context.tasks).await;
        });
        Self {
            port,
            ca: std::fs::read_to_string(&identity.ca).unwrap(),
            kept,
            trigger,
        }
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/path?token=hunter2", self.port)
    }

    pub(crate) fn numbers(&self) -> Vec<i64> {
        self.kept.lock().iter().map(|(_, number)| *number).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.trigger.fire();
    }
}
