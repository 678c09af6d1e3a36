//! A traffic controller under test, its clients, and a doppler whose queues a test fills.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tonic::{Request, Response, Status};
use weir_auth::{Authorizer, StartError};
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::selector::Selector;
use weir_envelope::view;
use weir_eventually::eventually;
use weir_flow::{Capacity, FairQueue, Ledger, LogContext, Parcel};
use weir_net::{FrameStream, GrpcServer, Messages, RawServer, RawService};
use weir_proto::events;
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_rpc::egress::{Acknowledges, Egress, LinkService};
use weir_service::Trigger;
use weir_tls::{Authority, ClientTls, IdentityFiles, ServerTls};
use weir_traffic_controller_server::{Config, RawConfig, Server};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A token that permits everything.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Returns numbered log lines.
pub(crate) fn numbered(source_id: &str, first: usize, count: usize, len: usize) -> Batch {
    let mut builder = BatchBuilder::new();
    for number in first..first + count {
        let line = format!("{number:0>len$}");
        builder.push_with(|out| {
            Writer::new(out)
                .timestamp(1)
                .source_id(source_id)
                .tag("origin", "rep")
                .log(line.as_bytes(), view::Stream::Out);
        });
    }
    builder.finish()
}

/// Returns the v1 envelope in a message.
pub(crate) fn v1(message: &Message) -> Option<events::Envelope> {
    match message {
        Message::Binary(v1) => Some(events::Envelope::decode(v1.clone()).unwrap()),
        _ => None,
    }
}

/// Returns the number of the log line in a message.
pub(crate) fn number(message: &Message) -> Option<usize> {
    let line = v1(message)?.log_message?.message;
    Some(String::from_utf8(line.to_vec()).unwrap().parse().unwrap())
}

/// Returns the numbers of the log lines in the frames after the head of a response. An incomplete frame does not count.
pub(crate) fn numbers_of(said: &[u8]) -> Vec<usize> {
    let head = said.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut rest = &said[head + 4..];
    let mut numbers = Vec::new();
    loop {
        let (opcode, len, header) = match rest {
            [opcode, 126, high, low, ..] => (*opcode, usize::from(u16::from_be_bytes([*high, *low])), 4),
            [opcode, len @ 0..126, ..] => (*opcode, usize::from(*len), 2),
            [] => return numbers,
            other => panic!("no frame: {:02x?}", &other[..other.len().min(20)]),
        };
        let Some(payload) = rest.get(header..header + len) else {
            return numbers;
        };
        if opcode == 0x82 {
            numbers.extend(number(&Message::binary(payload.to_vec())));
        }
        rest = &rest[header + len..];
    }
}

/// A CA, the certificates of all parties, and the token file.
pub(crate) struct Pki {
    dir: tempfile::TempDir,
    ca: PathBuf,
    server: IdentityFiles,
    doppler: IdentityFiles,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path()).unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&token, private).unwrap();
        Self {
            ca: authority.ca_file(),
            server: authority.issue("traffic-controller", &["doppler.example"]).unwrap(),
            doppler: authority.issue("doppler", &["doppler"]).unwrap(),
            dir,
        }
    }
}

/// A running traffic controller.
pub(crate) struct Controller {
    pub(crate) address: SocketAddr,
    pub(crate) trigger: Trigger,
    context: LogContext,
    running: JoinHandle<Result<(), StartError>>,
    tls: ClientTls,
}

pub(crate) type Client = WebSocketStream<TlsStream<TcpStream>>;

impl Controller {
    pub(crate) async fn start(pki: &Pki, dopplers: &[SocketAddr], raw: RawConfig) -> Self {
        Self::start_with(pki, dopplers, raw, |_| None).await
    }

    /// Starts a traffic controller whose authorizer the function `authorizer` creates.
    pub(crate) async fn start_with(
        pki: &Pki,
        dopplers: &[SocketAddr],
        raw: RawConfig,
        authorizer: impl FnOnce(&LogContext) -> Option<Arc<dyn Authorizer>>,
    ) -> Self {
        let (trigger, context) = LogContext::in_memory("traffic-controller");
        let raw = RawConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            cert: pki.server.cert.clone(),
            key: pki.server.key.clone(),
            identity: pki.server.clone(),
            dopplers: dopplers.iter().map(|address| (*address).into()).collect(),
            token_file: pki.dir.path().join("token"),
            system_domain: "sys.example".to_owned(),
            ..raw
        };
        let config = Config::try_from(raw).unwrap();
        let server = match authorizer(&context) {
            Some(authorizer) => Server::with_authorizer(config, context.clone(), authorizer).await,
            None => Server::bind(config, context.clone()).await,
        };
        let server = server.unwrap();
        let address = server.local_addr();
        let tls = ClientTls::trusting(&pki.ca).unwrap().with_alpn(&[b"http/1.1"]);
        Self {
            address,
            trigger,
            context,
            running: tokio::spawn(server.run()),
            tls,
        }
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.context.ledger)
    }

    /// Opens a TLS connection.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = "localhost".to_owned().try_into().unwrap();
        self.tls.connector().connect(name, stream).await.unwrap()
    }

    /// Opens a stream of `path`, or returns why this failed.
    pub(crate) async fn open(&self, path: &str, token: Option<&str>) -> Result<Client, tungstenite::Error> {
        let mut request = format!("wss://localhost{path}").into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("authorization", token.parse().unwrap());
        }
        Ok(tokio_tungstenite::client_async(request, self.connect().await).await?.0)
    }

    /// Opens a stream of `path` with the valid token.
    pub(crate) async fn stream(&self, path: &str) -> Client {
        self.open(path, Some(&format!("bearer {TOKEN}"))).await.unwrap()
    }

    /// Sends a request as it is and reads the response up to the end of the connection.
    pub(crate) async fn ask(&self, request: &str) -> String {
        String::from_utf8(self.ask_bytes(request).await).unwrap()
    }

    /// Sends a request as it is and returns the bytes up to the end of the connection.
    pub(crate) async fn ask_bytes(&self, request: &str) -> Vec<u8> {
        let mut connection = self.connect().await;
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server may close without a TLS close_notify.
        drop(
            tokio::time::timeout(PATIENCE, connection.read_to_end(&mut answer))
                .await
                .unwrap(),
        );
        answer
    }

    /// Stops the traffic controller in order and returns its ledger.
    pub(crate) async fn stop(self) -> Arc<Ledger> {
        self.trigger.fire();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.context.finish(PATIENCE).await.unwrap();
        self.context.ledger
    }
}

/// Returns the next message that is not a ping.
pub(crate) async fn next(client: &mut Client) -> Message {
    loop {
        match tokio::time::timeout(PATIENCE, client.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Ping(_) => {}
            message => return message,
        }
    }
}

/// A doppler that sends what a test publishes. It runs in its own runtime, so that it can be killed.
pub(crate) struct Doppler {
    pub(crate) address: SocketAddr,
    subscriptions: Arc<Mutex<Vec<Subscription>>>,
    context: LogContext,
    trigger: Trigger,
    runtime: Option<Runtime>,
}

#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) request: EgressBatchRequest,
    queue: Arc<FairQueue>,
}

struct EgressService {
    egress: Arc<Egress>,
    subscriptions: Arc<Mutex<Vec<Subscription>>>,
}

#[tonic::async_trait]
impl RawService for EgressService {
    const NAME: &'static str = "loggregator.v2.Egress";

    async fn call(&self, _: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        let acknowledges = Acknowledges::of(&request);
        let message = request.into_inner().message().await?.unwrap();
        let request = EgressBatchRequest::decode(message).unwrap();
        let queue = Arc::new(FairQueue::new(Capacity {
            envelopes: 1 << 20,
            bytes: 1 << 30,
        }));
        self.subscriptions.lock().push(Subscription {
            request,
            queue: Arc::clone(&queue),
        });
        Ok(self.egress.stream(queue, acknowledges, ()))
    }
}

impl Doppler {
    pub(crate) fn start(pki: &Pki, port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (trigger, context) = LogContext::in_memory("doppler");
        let subscriptions = Arc::<Mutex<Vec<Subscription>>>::default();
        let egress = Egress::new(Arc::clone(&context.ledger), context.shutdown.clone());
        let service = EgressService {
            egress: Arc::clone(&egress),
            subscriptions: Arc::clone(&subscriptions),
        };
        let server = GrpcServer::new(ServerTls::mutual(&pki.doppler).unwrap())
            .add(RawServer::new(Arc::new(service), 1 << 20))
            .add(RawServer::new(Arc::new(LinkService::new(egress)), 1 << 20));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = context.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            server.serve(listener, serving.shutdown.clone(), &serving.tasks).await
        });
        Self {
            address,
            subscriptions,
            context,
            trigger,
            runtime: Some(runtime),
        }
    }

    /// Waits until there are `count` subscriptions. Returns them in the order in which they were made.
    pub(crate) async fn subscriptions(&self, count: usize) -> Vec<Subscription> {
        eventually("subscriptions", || self.subscriptions.lock().len() >= count).await;
        self.subscriptions.lock().clone()
    }

    /// Publishes a batch to every subscription according to its selectors.
    pub(crate) fn publish(&self, batch: &Batch) {
        for subscription in self.subscriptions.lock().iter() {
            subscription.publish(batch);
        }
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.context.ledger)
    }

    /// Kills the doppler.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.trigger.fire();
        if let Some(runtime) = self.runtime.take() {
            // `shutdown_timeout` waits until the sockets are closed, so that the port can be bound again.
            std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE))
                .join()
                .unwrap();
        }
    }
}

impl Drop for Doppler {
    fn drop(&mut self) {
        self.end();
    }
}

impl Subscription {
    pub(crate) fn publish(&self, batch: &Batch) {
        let selectors: Vec<Selector> = self.request.selectors.iter().filter_map(Selector::from_proto).collect();
        if let Some(batch) = batch.select(|envelope| selectors.iter().any(|selector| selector.matches(envelope))) {
            assert!(self.queue.push(Parcel::unacknowledged(batch)).is_empty());
        }
    }
}
