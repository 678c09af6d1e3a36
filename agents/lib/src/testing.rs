//! Helpers for the tests of the agents: certificates, envelopes, and a peer that keeps what it receives. The feature
//! `testing` turns them on; no program does.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "only tests use it: they spawn, wait, and fail, as they like"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view;
use weir_flow::{LogContext, Parcel};
use weir_net::{GrpcServer, RawServer, Target};
use weir_proto::loggregator_v2 as v2;
use weir_rpc::egress::LinkService;
use weir_service::Trigger;
use weir_tls::{Authority, ClientTls, IdentityFiles, ServerTls};

use crate::ingress::Ingress;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Returns an address on which nobody listens.
///
/// # Panics
/// Panics if there is none.
#[must_use]
pub fn free_port() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Returns a log envelope as the original's client library sends it.
#[must_use]
pub fn log(source_id: &str) -> v2::Envelope {
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

/// Returns `count` log lines whose timestamps are the numbers from `first` on.
#[must_use]
pub fn numbered(source_id: &str, first: i64, count: i64) -> Batch {
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

/// A certificate authority for one test, and certificates for its parties.
#[derive(Debug)]
pub struct Pki {
    dir: tempfile::TempDir,
    authority: Authority,
    /// The identity with the server name `metron`.
    pub agent: IdentityFiles,
    /// The identity with the server name `doppler`.
    pub doppler: IdentityFiles,
    pub client: IdentityFiles,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// # Panics
    /// Panics if the certificates cannot be issued.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path()).unwrap();
        Self {
            agent: authority.issue("agent", &["metron"]).unwrap(),
            doppler: authority.issue("doppler", &["doppler"]).unwrap(),
            client: authority.issue("client", &["client"]).unwrap(),
            dir,
            authority,
        }
    }

    /// Returns the directory of the certificates.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Issues one more certificate.
    ///
    /// # Panics
    /// Panics if it cannot be issued.
    #[must_use]
    pub fn issue(&self, name: &str, server_names: &[&str]) -> IdentityFiles {
        self.authority.issue(name, server_names).unwrap()
    }

    /// Returns the target with which a client reaches an agent at `address`.
    ///
    /// # Panics
    /// Panics if the certificates cannot be read.
    #[must_use]
    pub fn target(&self, address: SocketAddr) -> Target {
        Target {
            address: address.to_string(),
            server_name: "metron".to_owned(),
            tls: ClientTls::mutual(&self.client).unwrap(),
        }
    }
}

/// An agent or doppler that keeps what it receives. It runs in its own runtime, so that a test can kill it.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    runtime: Option<Runtime>,
    kept: Arc<Kept>,
    trigger: Trigger,
}

#[derive(Debug, Default)]
struct Kept {
    received: Mutex<Vec<Bytes>>,
    envelopes: AtomicUsize,
    /// The parcels of a stalled peer, whose receipts are not released.
    held: Mutex<Option<Vec<Parcel>>>,
}

impl Peer {
    /// Starts a peer on `port` with the certificate of `identity`.
    #[must_use]
    pub fn start(identity: &IdentityFiles, port: u16) -> Self {
        Self::with(identity, port, Kept::default())
    }

    /// Starts a peer that acknowledges envelopes as received, but not as handed on, until [`Peer::settle`] is called.
    #[must_use]
    pub fn stalled(identity: &IdentityFiles) -> Self {
        let held = Mutex::new(Some(Vec::new()));
        Self::with(
            identity,
            0,
            Kept {
                held,
                ..Kept::default()
            },
        )
    }

    fn with(identity: &IdentityFiles, port: u16, kept: Kept) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let kept = Arc::new(kept);
        let (trigger, context) = LogContext::in_memory("peer");
        let keeping = Arc::clone(&kept);
        let sink = move |parcel: Parcel| {
            keeping.envelopes.fetch_add(parcel.batch.len(), Ordering::Relaxed);
            keeping.received.lock().push(parcel.batch.bytes().clone());
            if let Some(held) = keeping.held.lock().as_mut() {
                held.push(parcel);
            }
        };
        let ingress = Ingress::new(sink, Arc::clone(&context.ledger), context.shutdown.clone());
        let server = GrpcServer::new(ServerTls::mutual(identity).unwrap())
            .add(RawServer::new(Arc::new(ingress), 10 << 20))
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

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the envelopes that the peer has received.
    ///
    /// # Panics
    /// Panics if something received is not a batch.
    #[must_use]
    pub fn received(&self) -> Vec<v2::Envelope> {
        let received = self.kept.received.lock();
        received
            .iter()
            .flat_map(|batch| v2::EnvelopeBatch::decode(batch.clone()).unwrap().batch)
            .collect()
    }

    /// Returns the number of envelopes that the peer has received.
    #[must_use]
    pub fn received_envelopes(&self) -> usize {
        self.kept.envelopes.load(Ordering::Relaxed)
    }

    /// Releases the receipts of everything received so far and from now on.
    pub fn settle(&self) {
        self.kept.held.lock().take();
    }

    /// Requests an orderly stop.
    pub fn stop(&self) {
        self.trigger.fire();
    }

    /// Stops the peer abruptly and returns what it had received.
    ///
    /// # Panics
    /// Panics if the runtime cannot be shut down.
    #[must_use]
    pub fn kill(mut self) -> Vec<v2::Envelope> {
        if let Some(runtime) = self.runtime.take() {
            // `shutdown_timeout` waits until the sockets are closed, so that the port can be bound again.
            std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE))
                .join()
                .unwrap();
        }
        self.received()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
