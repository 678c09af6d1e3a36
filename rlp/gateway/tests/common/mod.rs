//! A gateway under test, clients that see every byte, and an RLP that a test controls.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tonic::{Request, Response, Status};
use weir_auth::testing::TestIssuer;
use weir_auth::{Authorizer, Gate, StartError, StaticToken};
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view;
use weir_eventually::eventually;
use weir_flow::{Ledger, LogContext};
use weir_net::{Frame, FrameStream, GrpcServer, Messages, RawServer, RawService};
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_rlp_gateway::{Config, RawConfig, Server};
use weir_service::Trigger;
use weir_tls::{Authority, ClientTls, IdentityFiles, ServerTls};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The operator's token.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn millis(millis: u64) -> weir_config::Duration {
    weir_config::Duration::from_millis(millis)
}

/// Returns an `EnvelopeBatch` of numbered log lines.
pub(crate) fn lines(source_id: &str, first: usize, count: usize, len: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    for number in first..first + count {
        let line = format!("{number:0>len$}");
        builder.push_with(|out| {
            let mut writer = Writer::new(out);
            writer.timestamp(1).source_id(source_id);
            writer.log(line.as_bytes(), view::Stream::Out);
        });
    }
    builder.finish().bytes().clone()
}

/// Returns the event for [`lines`] with these arguments.
pub(crate) fn event_of(source_id: &str, first: usize, count: usize, len: usize, id: Option<&str>) -> String {
    use base64::Engine as _;
    let envelopes: Vec<String> = (first..first + count)
        .map(|number| {
            let payload = base64::engine::general_purpose::STANDARD.encode(format!("{number:0>len$}"));
            format!(
                "{{\"timestamp\":\"1\",\"source_id\":\"{source_id}\",\"instance_id\":\"\",\"deprecated_tags\":{{}},\
                 \"tags\":{{}},\"log\":{{\"payload\":\"{payload}\",\"type\":\"OUT\"}}}}"
            )
        })
        .collect();
    let id = id.map(|id| format!("\nid: {id}")).unwrap_or_default();
    format!("data: {{\"batch\":[{}]}}{id}\n\n", envelopes.join(","))
}

/// A CA and the certificates of all parties.
pub(crate) struct Pki {
    _dir: tempfile::TempDir,
    ca: std::path::PathBuf,
    gateway: IdentityFiles,
    rlp: IdentityFiles,
}

impl Pki {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path()).unwrap();
        Self {
            ca: authority.ca_file(),
            gateway: authority.issue("rlp-gateway", &["log-stream.example"]).unwrap(),
            rlp: authority.issue("rlp", &["reverselogproxy"]).unwrap(),
            _dir: dir,
        }
    }
}

/// A running gateway and its surroundings.
pub(crate) struct Setup {
    pub(crate) issuer: Arc<TestIssuer>,
    pub(crate) rlp: Rlp,
    pub(crate) address: SocketAddr,
    pub(crate) trigger: Trigger,
    context: LogContext,
    running: JoinHandle<Result<(), StartError>>,
    tls: ClientTls,
    pki: Pki,
}

impl Setup {
    pub(crate) async fn start(raw: RawConfig) -> Self {
        let pki = Pki::new();
        let rlp = Rlp::start(&pki, 0);
        let (trigger, context) = LogContext::in_memory("rlp-gateway");
        let raw = RawConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            cert: pki.gateway.cert.clone(),
            key: pki.gateway.key.clone(),
            logs_provider: rlp.address.into(),
            identity: pki.gateway.clone(),
            ..raw
        };
        let issuer = TestIssuer::new();
        let verifier = issuer.verifier(&context.shutdown, &context.tasks);
        let gate = Gate::new(Some(StaticToken::new(TOKEN).unwrap()), Some(verifier));
        let config = Config::try_from(raw).unwrap();
        let authorizer: Arc<dyn Authorizer> = Arc::new(gate);
        let server = Server::with_authorizer(config, context.clone(), authorizer)
            .await
            .unwrap();
        let address = server.local_addr();
        let tls = ClientTls::trusting(&pki.ca).unwrap().with_alpn(&[b"http/1.1"]);
        Self {
            issuer,
            rlp,
            address,
            trigger,
            context,
            running: tokio::spawn(server.run()),
            tls,
            pki,
        }
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.context.ledger)
    }

    /// Returns a token of UAA with these scopes.
    pub(crate) fn token(&self, name: &str, scopes: &[&str]) -> String {
        self.issuer.token(name, scopes)
    }

    /// Opens a TLS connection.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = "localhost".to_owned().try_into().unwrap();
        self.tls.connector().connect(name, stream).await.unwrap()
    }

    /// Sends a request as it is, and returns a client that reads the response.
    pub(crate) async fn send(&self, request: &str) -> Client {
        let mut connection = self.connect().await;
        connection.write_all(request.as_bytes()).await.unwrap();
        Client {
            connection,
            bytes: Vec::new(),
        }
    }

    /// Sends `GET` with this path and these header lines.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> Client {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"))
            .await
    }

    /// Opens a stream with this query and token.
    pub(crate) async fn stream(&self, query: &str, token: &str, headers: &str) -> Client {
        let headers = format!("Authorization: bearer {token}\r\n{headers}");
        let mut client = self.get(&format!("/v2/read?{query}"), &headers).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        client
    }

    /// Stops the gateway. Everything must end in time, and the ledger must balance.
    pub(crate) async fn stop(self) {
        self.trigger.fire();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.context.finish(PATIENCE).await.unwrap();
        let counts = self.context.ledger.snapshot();
        assert_eq!((counts.in_flight, counts.subscribers), (0, 0));
        assert_eq!(counts.received, counts.sent + counts.dropped_total(), "{counts:?}");
    }

    /// Kills the RLP and starts it again at the same address.
    pub(crate) fn restart_rlp(&mut self) {
        let port = self.rlp.address.port();
        self.rlp.end();
        self.rlp = Rlp::start(&self.pki, port);
    }
}

/// A client that sees every byte.
pub(crate) struct Client {
    pub(crate) connection: TlsStream<TcpStream>,
    bytes: Vec<u8>,
}

impl Client {
    /// Reads more bytes. Returns false at the end.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 << 10];
        let read = tokio::time::timeout(PATIENCE, self.connection.read(&mut buffer)).await;
        // A server may close without a TLS close_notify.
        let read = read.expect("in time").unwrap_or(0);
        self.bytes.extend_from_slice(&buffer[..read]);
        read > 0
    }

    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|window| window == end) {
                return self.bytes.drain(..at + end.len()).collect();
            }
            assert!(
                self.more().await,
                "it ended early: {:?}",
                String::from_utf8_lossy(&self.bytes)
            );
        }
    }

    /// Reads the head of the response.
    pub(crate) async fn head(&mut self) -> String {
        String::from_utf8(self.until(b"\r\n\r\n").await).unwrap()
    }

    /// Reads the next chunk of the body, which is one event. Returns `None` at the end of the body or the connection.
    pub(crate) async fn event(&mut self) -> Option<String> {
        while !self.bytes.windows(2).any(|window| window == b"\r\n") {
            if !self.more().await {
                return None;
            }
        }
        let length = String::from_utf8(self.until(b"\r\n").await).unwrap();
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        while self.bytes.len() < length + 2 {
            if !self.more().await {
                return None;
            }
        }
        let chunk: Vec<u8> = self.bytes.drain(..length + 2).collect();
        assert!(chunk.ends_with(b"\r\n"));
        (length > 0).then(|| String::from_utf8(chunk[..length].to_vec()).unwrap())
    }

    /// Reads the next event that is not a heartbeat.
    pub(crate) async fn other_event(&mut self) -> Option<String> {
        loop {
            match self.event().await {
                Some(event) if event.starts_with("event: heartbeat\n") => {}
                other => return other,
            }
        }
    }

    /// Reads everything up to the end of the connection.
    pub(crate) async fn rest(mut self) -> String {
        while self.more().await {}
        String::from_utf8(self.bytes).unwrap()
    }
}

/// One subscription at the RLP.
#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) request: EgressBatchRequest,
    frames: mpsc::Sender<Result<Frame, Status>>,
}

impl Subscription {
    /// Sends a message as soon as there is room for it.
    pub(crate) async fn send(&self, message: Bytes) {
        self.frames.send(Ok(Frame::from(message))).await.unwrap();
    }

    /// Sends a message if the gateway accepts one. Returns whether it did.
    pub(crate) fn try_send(&self, message: Bytes) -> bool {
        self.frames.try_send(Ok(Frame::from(message))).is_ok()
    }

    /// Ends the subscription with an error.
    pub(crate) async fn fail(&self, status: Status) {
        self.frames.send(Err(status)).await.unwrap();
    }

    /// Returns whether the gateway has ended the subscription.
    pub(crate) fn is_over(&self) -> bool {
        self.frames.is_closed()
    }
}

/// An RLP on its own runtime, so that it can be killed.
pub(crate) struct Rlp {
    pub(crate) address: SocketAddr,
    service: Arc<Service>,
    trigger: Trigger,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Service {
    subscriptions: Mutex<Vec<Subscription>>,
    refusal: Mutex<Option<Status>>,
}

#[tonic::async_trait]
impl RawService for Service {
    const NAME: &'static str = "loggregator.v2.Egress";

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        assert_eq!(method, "BatchedReceiver");
        if let Some(refusal) = self.refusal.lock().clone() {
            return Err(refusal);
        }
        let message = request.into_inner().message().await?.unwrap();
        let request = EgressBatchRequest::decode(message).unwrap();
        let (frames, receiver) = mpsc::channel(1);
        self.subscriptions.lock().push(Subscription { request, frames });
        // The stream ends with its last message, because the test's list holds only the sender.
        let frames = tokio_stream_of(receiver);
        Ok(Response::new(frames))
    }
}

fn tokio_stream_of(receiver: mpsc::Receiver<Result<Frame, Status>>) -> FrameStream {
    let state = Some(receiver);
    futures::stream::unfold(state, |state| async move {
        let mut receiver = state?;
        let frame = receiver.recv().await?;
        let failed = frame.is_err();
        Some((frame, (!failed).then_some(receiver)))
    })
    .boxed()
}

impl Rlp {
    fn start(pki: &Pki, port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (trigger, context) = LogContext::in_memory("rlp");
        let service = Arc::new(Service::default());
        let server =
            GrpcServer::new(ServerTls::mutual(&pki.rlp).unwrap()).add(RawServer::new(Arc::clone(&service), 1 << 20));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            server.serve(listener, context.shutdown.clone(), &context.tasks).await
        });
        Self {
            address,
            service,
            trigger,
            runtime: Some(runtime),
        }
    }

    /// Refuses every subscription from now on. `None` accepts them again.
    pub(crate) fn refuse(&self, status: Option<Status>) {
        *self.service.refusal.lock() = status;
    }

    /// Waits until there were `count` subscriptions. Returns the last of these.
    pub(crate) async fn subscription(&self, count: usize) -> Subscription {
        eventually("a subscription", || self.service.subscriptions.lock().len() >= count).await;
        self.service.subscriptions.lock()[count - 1].clone()
    }

    /// Returns how many subscriptions there were.
    pub(crate) fn count(&self) -> usize {
        self.service.subscriptions.lock().len()
    }

    /// Kills the RLP.
    pub(crate) fn end(&mut self) {
        self.trigger.fire();
        if let Some(runtime) = self.runtime.take() {
            // `shutdown_timeout` waits until the sockets are closed, so that the port can be bound again.
            std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE))
                .join()
                .unwrap();
        }
    }
}

impl Drop for Rlp {
    fn drop(&mut self) {
        self.end();
    }
}
