//! A syslog server under test, a scripted log cache, and senders.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tonic::{Request, Response, Status};
use weir_flow::{LedgerSnapshot, LogContext};
use weir_log_cache_syslog::{Config, Error, RawConfig, Server};
use weir_net::GrpcServer;
use weir_proto::logcache_v1::ingress_server::{Ingress, IngressServer};
use weir_proto::logcache_v1::{SendRequest, SendResponse};
use weir_proto::loggregator_v2::envelope::Message;
use weir_proto::loggregator_v2::{Envelope, EnvelopeBatch};
use weir_service::Trigger;
use weir_tls::{Authority, ClientTls, IdentityFiles, ServerTls, server_name};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A CA, and the certificates that it issued for all parties.
pub(crate) struct Pki {
    _dir: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) server: IdentityFiles,
    pub(crate) log_cache: IdentityFiles,
    pub(crate) sender: IdentityFiles,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path()).unwrap();
        Self {
            server: authority.issue("log-cache-syslog", &["log-cache-syslog"]).unwrap(),
            log_cache: authority.issue("log-cache", &["log-cache"]).unwrap(),
            sender: authority.issue("syslog-agent", &["syslog-agent"]).unwrap(),
            authority,
            _dir: dir,
        }
    }
}

/// A log cache that records the envelopes that it gets.
pub(crate) struct LogCache {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    trigger: Trigger,
    context: LogContext,
    running: JoinHandle<()>,
}

/// The recorded envelopes, and the script.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) envelopes: Mutex<Vec<Envelope>>,
    pub(crate) batches: Mutex<Vec<usize>>,
    /// The number of requests that are answered with an error.
    pub(crate) errors: Mutex<Vec<Status>>,
    /// Requests wait while this is greater than zero.
    pub(crate) stalled: AtomicUsize,
}

struct FakeIngress(Arc<State>);

#[tonic::async_trait]
impl Ingress for FakeIngress {
    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        while self.0.stalled.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let Some(error) = self.0.errors.lock().pop() {
            return Err(error);
        }
        let EnvelopeBatch { batch } = request.into_inner().envelopes.unwrap_or_default();
        self.0.batches.lock().push(batch.len());
        self.0.envelopes.lock().extend(batch);
        Ok(Response::new(SendResponse::default()))
    }
}

impl LogCache {
    pub(crate) async fn start(pki: &Pki) -> Self {
        Self::start_at(pki, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Arc::default()).await
    }

    /// Starts a log cache at an address, with the state of an earlier one.
    pub(crate) async fn start_at(pki: &Pki, address: SocketAddr, state: Arc<State>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, context) = LogContext::in_memory("log-cache");
        let tls = ServerTls::mutual(&pki.log_cache).unwrap();
        let ingress = IngressServer::new(FakeIngress(Arc::clone(&state))).max_decoding_message_size(50 << 20);
        let serving = context.clone();
        let running = tokio::spawn(async move {
            let server = GrpcServer::new(tls).add(ingress);
            server
                .serve(listener, serving.shutdown.clone(), &serving.tasks)
                .await
                .unwrap();
        });
        Self {
            address,
            state,
            trigger,
            context,
            running,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.state.envelopes.lock().len()
    }

    /// Returns the lines of a source, in the order of arrival.
    pub(crate) fn lines(&self, source_id: &str) -> Vec<String> {
        let envelopes = self.state.envelopes.lock();
        let of_source = envelopes.iter().filter(|envelope| envelope.source_id == source_id);
        of_source.filter_map(line).collect()
    }

    /// Stops the log cache; returns its address and state.
    pub(crate) async fn stop(self) -> (SocketAddr, Arc<State>) {
        self.trigger.fire();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap();
        self.context.finish(PATIENCE).await.unwrap();
        (self.address, self.state)
    }
}

fn line(envelope: &Envelope) -> Option<String> {
    match &envelope.message {
        Some(Message::Log(log)) => Some(String::from_utf8_lossy(&log.payload).into_owned()),
        _ => None,
    }
}

/// A running syslog server.
pub(crate) struct Syslog {
    pub(crate) address: SocketAddr,
    trigger: Trigger,
    context: LogContext,
    running: JoinHandle<Result<(), Error>>,
}

impl Syslog {
    pub(crate) async fn start(pki: &Pki, log_cache: SocketAddr, raw: RawConfig) -> Self {
        let (trigger, context) = LogContext::in_memory("log-cache-syslog");
        let raw = RawConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            identity: pki.server.clone(),
            log_cache: log_cache.into(),
            ..raw
        };
        let server = Server::bind(Config::try_from(raw).unwrap(), context.clone())
            .await
            .unwrap();
        Self {
            address: server.local_addr(),
            trigger,
            context,
            running: tokio::spawn(server.run()),
        }
    }

    pub(crate) fn counts(&self) -> LedgerSnapshot {
        self.context.ledger.snapshot()
    }

    pub(crate) async fn connect(&self, pki: &Pki) -> TlsStream<TcpStream> {
        self.connect_as(&ClientTls::mutual(&pki.sender).unwrap()).await.unwrap()
    }

    pub(crate) async fn connect_as(&self, tls: &ClientTls) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let connector = tls.with_alpn(&[]).connector();
        connector
            .connect(server_name("log-cache-syslog").unwrap(), stream)
            .await
    }

    /// Requests that the server stop.
    pub(crate) fn ask_to_stop(&self) {
        self.trigger.fire();
    }

    /// Stops the server in order; returns its ledger, and asserts that the counts add up.
    pub(crate) async fn stop(self) -> LedgerSnapshot {
        self.trigger.fire();
        let ended = tokio::time::timeout(PATIENCE, self.running).await;
        ended.unwrap().unwrap().unwrap();
        self.context.finish(PATIENCE).await.unwrap();
        let counts = self.context.ledger.snapshot();
        assert_eq!(counts.received, counts.sent + counts.dropped_total(), "{counts:?}");
        assert_eq!(counts.in_flight, 0, "{counts:?}");
        counts
    }
}

/// Returns the drops, each as `hop reason count`.
pub(crate) fn dropped(counts: &LedgerSnapshot) -> Vec<String> {
    let text = |drop: &weir_flow::DropCount| format!("{} {} {}", drop.hop, drop.reason, drop.count);
    counts.dropped.iter().map(text).collect()
}

/// Returns a line of a source, as the original's agent sends it.
pub(crate) fn message(source_id: &str, text: &str) -> String {
    let message = format!(
        "<14>1 2026-01-03T10:11:12.345678+00:00 o.s.a {source_id} [APP/PROC/WEB/0] - \
         [tags@47450 instance_id=\"0\" source_type=\"APP/PROC/WEB\"] {text}\n"
    );
    format!("{} {message}", message.len())
}

/// Waits until the peer ends the connection, and returns whether it did.
pub(crate) async fn is_closed(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut end = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut end)).await;
    read.is_ok() && end.is_empty()
}

/// Sends and flushes bytes.
pub(crate) async fn send(stream: &mut TlsStream<TcpStream>, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).await.unwrap();
    stream.flush().await.unwrap();
}
