//! An agent under test, and dopplers that keep what they get.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};
use weir_agents_loggregator::{Config, Error, RawConfig, Server};
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view;
use weir_flow::{Ledger, Parcel};
use weir_proto::loggregator_v2 as v2;
use weir_rpc::egress::LinkService;
use weir_rpc::ingress::{INGRESS_SERVICE, IngressServer, Method};
use weir_rpc::producer::{Pace, Producer};
use weir_rpc::{Channel, FrameStream, GrpcServer, Messages, RawServer, RawService, Target};
use weir_service::{Context, Trigger};
use weir_tls::{Authority, ClientTls, IdentityFiles, ServerTls};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition, which must come in time.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An address on which nobody listens now.
pub(crate) fn free_port() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

pub(crate) fn log(source_id: &str) -> v2::Envelope {
    let log = v2::Log {
        payload: Bytes::from_static(b"hello"),
        ..Default::default()
    };
    v2::Envelope {
        timestamp: 1,
        source_id: source_id.to_owned(),
        message: Some(v2::envelope::Message::Log(log)),
        ..Default::default()
    }
}

/// Log lines whose timestamps are their numbers.
pub(crate) fn numbered(source_id: &str, first: i64, count: i64) -> Batch {
    let mut builder = BatchBuilder::new();
    for number in first..first + count {
        builder.push_with(|out| {
            Writer::new(out)
                .timestamp(number)
                .source_id(source_id)
                .log(b"a line", view::Stream::Out);
        });
    }
    builder.finish()
}

/// A CA of its own and the certificates of everybody.
pub(crate) struct Pki {
    _dir: tempfile::TempDir,
    agent: IdentityFiles,
    doppler: IdentityFiles,
    client: IdentityFiles,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path()).unwrap();
        Self {
            agent: authority.issue("agent", &["metron"]).unwrap(),
            doppler: authority.issue("doppler", &["doppler"]).unwrap(),
            client: authority.issue("client", &["client"]).unwrap(),
            _dir: dir,
        }
    }
}

/// A running agent.
pub(crate) struct Agent {
    address: SocketAddr,
    trigger: Trigger,
    context: Context,
    running: JoinHandle<Result<(), Error>>,
}

impl Agent {
    pub(crate) async fn start(pki: &Pki, dopplers: &[SocketAddr], raw: RawConfig) -> Self {
        let (trigger, context) = Context::in_memory("loggregator-agent");
        let raw = RawConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            identity: pki.agent.clone(),
            dopplers: dopplers.iter().map(|address| (*address).into()).collect(),
            ..raw
        };
        let server = Server::bind(Config::try_from(raw).unwrap(), context.clone())
            .await
            .unwrap();
        let address = server.local_addr();
        Self {
            address,
            trigger,
            context,
            running: tokio::spawn(server.run()),
        }
    }

    pub(crate) fn target(&self, pki: &Pki) -> Target {
        Target {
            address: self.address.to_string(),
            server_name: "metron".to_owned(),
            tls: ClientTls::mutual(&pki.client).unwrap(),
        }
    }

    pub(crate) fn channel(&self, pki: &Pki) -> Channel {
        Channel::new(&self.target(pki))
    }

    pub(crate) fn producer(&self, pki: &Pki) -> Producer {
        Producer::new(
            &self.target(pki),
            Ledger::in_memory("producer"),
            &self.context.tasks,
            Pace::default(),
        )
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.context.ledger)
    }

    /// Stops it in order; returns its books.
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

/// A doppler that keeps what it gets, in a runtime of its own, so that it can be killed.
pub(crate) struct Doppler {
    address: SocketAddr,
    runtime: Option<Runtime>,
    kept: Arc<Kept>,
    trigger: Trigger,
}

#[derive(Default)]
struct Kept {
    received: Mutex<Vec<Bytes>>,
    envelopes: AtomicUsize,
    /// Parcels of a doppler that does not let go of them.
    held: Mutex<Option<Vec<Parcel>>>,
}

impl Doppler {
    /// Starts on `port`.
    pub(crate) fn start(pki: &Pki, port: u16) -> Self {
        Self::with(pki, port, Kept::default())
    }

    /// One that has not handed on anything, until it is told to.
    pub(crate) fn stalled(pki: &Pki) -> Self {
        Self::with(
            pki,
            0,
            Kept {
                held: Mutex::new(Some(Vec::new())),
                ..Kept::default()
            },
        )
    }

    fn with(pki: &Pki, port: u16, kept: Kept) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let kept = Arc::new(kept);
        let (trigger, context) = Context::in_memory("doppler");
        let keeping = Arc::clone(&kept);
        let sink = move |parcel: Parcel| {
            keeping.envelopes.fetch_add(parcel.batch.len(), Ordering::Relaxed);
            keeping.received.lock().push(parcel.batch.bytes().clone());
            if let Some(held) = keeping.held.lock().as_mut() {
                held.push(parcel);
            }
        };
        let ingress = IngressServer::new(sink, Arc::clone(&context.ledger), context.shutdown.clone());
        let server = GrpcServer::new(ServerTls::mutual(&pki.doppler).unwrap())
            .add(RawServer::new(Arc::new(Ingress(ingress)), 10 << 20))
            .add(RawServer::new(Arc::new(LinkService::ingress_only()), 1 << 20));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            server.serve(listener, context.shutdown.clone(), &context.tasks).await
        });
        Self {
            address,
            runtime: Some(runtime),
            kept,
            trigger,
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn received(&self) -> Vec<v2::Envelope> {
        let received = self.kept.received.lock();
        received
            .iter()
            .flat_map(|batch| v2::EnvelopeBatch::decode(batch.clone()).unwrap().batch)
            .collect()
    }

    /// How many envelopes it has received.
    pub(crate) fn received_envelopes(&self) -> usize {
        self.kept.envelopes.load(Ordering::Relaxed)
    }

    /// Lets go of everything, now and from now on.
    pub(crate) fn settle(&self) {
        self.kept.held.lock().take();
    }

    /// Stops in order.
    pub(crate) fn stop(&self) {
        self.trigger.fire();
    }

    /// Ends from one moment to the next; returns what it had received.
    pub(crate) fn kill(mut self) -> Vec<v2::Envelope> {
        if let Some(runtime) = self.runtime.take() {
            // Waits until its sockets are closed, so that the port is free again.
            std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE))
                .join()
                .unwrap();
        }
        self.received()
    }
}

impl Drop for Doppler {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Ingress(IngressServer);

#[tonic::async_trait]
impl RawService for Ingress {
    const NAME: &'static str = INGRESS_SERVICE;

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        self.0.serve(Method::named(method).unwrap(), request).await
    }
}
