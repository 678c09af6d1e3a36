//! The links over mTLS connections: which envelopes are acknowledged or lost, and where that is reported.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::selector::everything;
use weir_envelope::view::Stream;
use weir_envelope::wire::{put_bytes, put_uint};
use weir_eventually::eventually;
use weir_flow::{Capacity, FairQueue, Ledger, LedgerSnapshot, LogContext, Parcel, Reason, Tracker};
use weir_net::{Channel, FrameStream, GrpcServer, Messages, RawServer, RawService, Target};
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_rpc::egress::{Acknowledges, Egress, LinkService};
use weir_rpc::ingress::{INGRESS_SERVICE, IngressServer, Link, Method};
use weir_rpc::producer::{Pace, Producer};
use weir_rpc::subscriber::{Dopplers, Durability};
use weir_service::Trigger;
use weir_tls::{Authority, ClientTls, IdentityFiles, ServerTls};

const DEADLINE: Duration = Duration::from_secs(20);

struct Pki {
    _dir: tempfile::TempDir,
    server: IdentityFiles,
    client: IdentityFiles,
}

impl Pki {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open_or_create(dir.path()).expect("an authority");
        let server = authority.issue("doppler", &["doppler"]).expect("a certificate");
        let client = authority.issue("client", &["client"]).expect("a certificate");
        Self {
            _dir: dir,
            server,
            client,
        }
    }

    fn target(&self, address: SocketAddr) -> Target {
        let tls = ClientTls::mutual(&self.client).expect("client tls");
        Target {
            address: address.to_string(),
            server_name: "doppler".into(),
            tls,
        }
    }
}

fn numbered(numbers: std::ops::Range<u64>) -> Batch {
    let mut builder = BatchBuilder::new();
    for number in numbers {
        builder.push_with(|envelope| {
            put_uint(envelope, 1, number + 1);
            put_bytes(envelope, 2, b"app");
        });
    }
    builder.finish()
}

fn numbers(batch: &Batch) -> Vec<i64> {
    batch.iter().map(|envelope| envelope.view().timestamp() - 1).collect()
}

/// A server whose ingress keeps the parcels that it received, with their receipts.
struct Keeper {
    ingress: IngressServer,
}

#[tonic::async_trait]
impl RawService for Keeper {
    const NAME: &'static str = INGRESS_SERVICE;

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        self.ingress
            .serve(Method::named(method).expect("a method"), request)
            .await
    }
}

type Kept = Arc<Mutex<Vec<Parcel>>>;

async fn keeper(pki: &Pki, linked: bool) -> (SocketAddr, Kept, Trigger, LogContext) {
    let (trigger, context) = LogContext::in_memory("doppler");
    let kept = Kept::default();
    let keeping = Arc::clone(&kept);
    let sink = move |parcel| keeping.lock().push(parcel);
    let address = ingress_into(sink, pki, linked, &context).await;
    (address, kept, trigger, context)
}

/// A server of `context` that hands received parcels to `sink`.
async fn ingress_into(
    sink: impl Fn(Parcel) + Send + Sync + 'static,
    pki: &Pki,
    linked: bool,
    context: &LogContext,
) -> SocketAddr {
    let ingress = IngressServer::new(sink, Arc::clone(&context.ledger), context.shutdown.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut server = GrpcServer::new(ServerTls::mutual(&pki.server).expect("server tls"))
        .add(RawServer::new(Arc::new(Keeper { ingress }), 10 << 20));
    if linked {
        server = server.add(RawServer::new(Arc::new(LinkService::ingress_only()), 1 << 20));
    }
    let (shutdown, tasks) = (context.shutdown.clone(), context.tasks.clone());
    context
        .tasks
        .spawn("server", async move { server.serve(listener, shutdown, &tasks).await });
    address
}

/// A client sends three batches. Each is in flight until the server drops its receipt.
#[tokio::test]
async fn a_batch_is_in_flight_until_its_receipt_is_dropped() {
    let pki = Pki::new();
    let (address, kept, ..) = keeper(&pki, true).await;
    let (_stop, client) = LogContext::in_memory("agent");
    let channel = Channel::new(&pki.target(address));
    let link = Link::open(&channel, Arc::clone(&client.ledger), &client.tasks)
        .await
        .expect("a link");
    assert!(link.is_acknowledged());
    for number in 0..3 {
        let batch = numbered(number * 10..(number + 1) * 10);
        link.send(Parcel::unacknowledged(batch))
            .await
            .expect("the link takes it");
    }
    eventually("three parcels", || kept.lock().len() == 3).await;
    assert_eq!(link.in_flight(), 30);
    kept.lock().remove(0);
    eventually("ten acknowledged", || link.in_flight() == 20).await;
    kept.lock().clear();
    eventually("all acknowledged", || {
        link.in_flight() == 0 && client.ledger.snapshot().sent == 30
    })
    .await;
}

/// A server drops what it receives while its ledger cannot be written. It reads on and acknowledges nothing. When the
/// file can be written again, everything is acknowledged, and the drops are on file.
#[tokio::test]
async fn acknowledgements_wait_for_the_ledger_and_reading_does_not() {
    let pki = Pki::new();
    let base = tempfile::tempdir().expect("a directory");
    let (dir, away) = (base.path().join("ledger"), base.path().join("away"));
    let ledger = Ledger::open("doppler", Some(&dir)).expect("a ledger");
    let (_stop, server) = LogContext::new("doppler", Arc::clone(&ledger));
    let counting = Arc::clone(&ledger);
    let sink = move |parcel: Parcel| counting.lost("egress", Reason::SlowConsumer, &parcel.lose());
    let address = ingress_into(sink, &pki, true, &server).await;
    let (_stop, client) = LogContext::in_memory("agent");
    let channel = Channel::new(&pki.target(address));
    let link = Link::open(&channel, Arc::clone(&client.ledger), &client.tasks)
        .await
        .expect("a link");

    std::fs::rename(&dir, &away).expect("moved away");
    for number in 0..20 {
        let batch = numbered(number * 10..(number + 1) * 10);
        link.send(Parcel::unacknowledged(batch))
            .await
            .expect("the link takes it");
        eventually("the server reads on", || {
            ledger.snapshot().received == (number + 1) * 10
        })
        .await;
        assert_eq!(link.in_flight(), (number + 1) * 10);
    }
    std::fs::rename(&away, &dir).expect("moved back");
    eventually("all acknowledged", || link.in_flight() == 0).await;
    let on_file = LedgerSnapshot::read(&dir, "doppler").expect("readable").expect("there");
    assert_eq!(on_file.dropped_total(), 200);
}

/// A server that stops in order has settled every message that it has read, and nothing is lost.
#[tokio::test]
async fn an_orderly_stop_loses_nothing() {
    let pki = Pki::new();
    let (address, kept, stop, _server) = keeper(&pki, true).await;
    let (_stop, client) = LogContext::in_memory("agent");
    let channel = Channel::new(&pki.target(address));
    let link = Link::open(&channel, Arc::clone(&client.ledger), &client.tasks)
        .await
        .expect("a link");
    link.send(Parcel::unacknowledged(numbered(0..10)))
        .await
        .expect("the link takes it");
    eventually("a parcel", || kept.lock().len() == 1).await;
    stop.fire();
    let ended = tokio::time::timeout(DEADLINE, link.ended()).await.expect("ends");
    assert_eq!((ended.unsent.len(), ended.lost), (0, 0));
    assert!(link.send(Parcel::unacknowledged(numbered(0..1))).await.is_err());
}

/// The original does not acknowledge. A message to it is settled when the transport has taken it, and the answer comes
/// at the end of the stream.
#[tokio::test]
async fn a_server_without_acknowledgements_receives_messages() {
    let pki = Pki::new();
    let (address, kept, ..) = keeper(&pki, false).await;
    let (_stop, client) = LogContext::in_memory("agent");
    let channel = Channel::new(&pki.target(address));
    let link = Link::open(&channel, Arc::clone(&client.ledger), &client.tasks)
        .await
        .expect("a link");
    assert!(!link.is_acknowledged());
    let upstream = Tracker::new();
    link.send(Parcel {
        batch: numbered(0..10),
        receipts: vec![upstream.receipt(1)],
    })
    .await
    .expect("taken");
    eventually("settled", || upstream.progress().handed_on == 1).await;
    eventually("arrived", || kept.lock().len() == 1).await;
    let ended = tokio::time::timeout(DEADLINE, link.finish()).await.expect("ends");
    assert_eq!((ended.unsent.len(), ended.lost), (0, 0));
}

/// A flush waits until everything is taken, and reports the envelopes that were lost.
#[tokio::test]
async fn a_flush_reports_lost_envelopes() {
    let pki = Pki::new();
    let (address, kept, ..) = keeper(&pki, true).await;
    let (_stop, client) = LogContext::in_memory("emit");
    let mut producer = Producer::new(
        &pki.target(address),
        Arc::clone(&client.ledger),
        &client.tasks,
        Pace::default(),
    );
    producer.send(numbered(0..100)).await.expect("sent");
    producer.send(numbered(100..150)).await.expect("sent");
    eventually("two parcels", || kept.lock().len() == 2).await;
    assert_eq!(producer.untaken(), 150);
    kept.lock()[1].note_lost(7);
    kept.lock().clear();
    let report = tokio::time::timeout(DEADLINE, producer.flush())
        .await
        .expect("in time")
        .expect("flushed");
    assert_eq!((report.sent, report.lost), (150, 7));
}

/// Setup: a server that acknowledges nothing, and batches of 1 MiB. A producer waits as soon as it has sent more bytes
/// than its window has, however few envelopes that are, and goes on when they are taken.
#[tokio::test]
async fn a_producer_of_long_lines_waits() {
    let pki = Pki::new();
    let (address, kept, ..) = keeper(&pki, true).await;
    let (_stop, client) = LogContext::in_memory("emit");
    let mut producer = Producer::new(
        &pki.target(address),
        Arc::clone(&client.ledger),
        &client.tasks,
        Pace {
            window_bytes: 4 << 20,
            ..Pace::default()
        },
    );
    let long = || {
        let mut builder = BatchBuilder::new();
        builder.push_with(|envelope| {
            Writer::new(envelope)
                .source_id("app")
                .log(&vec![b'x'; 1 << 20], Stream::Out);
        });
        builder.finish()
    };
    for _ in 0..3 {
        producer.send(long()).await.expect("sent");
    }
    let mut fourth = std::pin::pin!(producer.send(long()));
    tokio::select! {
        sent = &mut fourth => panic!("it does not wait: {sent:?}"),
        () = eventually("it is sent", || kept.lock().len() == 4) => {}
    }
    assert!(futures::poll!(&mut fourth).is_pending());
    kept.lock().clear();
    let sent = tokio::time::timeout(DEADLINE, fourth).await.expect("in time");
    sent.expect("sent");
}

/// A server with one queue, which every subscription reads.
struct OneQueue {
    egress: Arc<Egress>,
    queue: Arc<FairQueue>,
    /// How many subscriptions are refused before one is accepted.
    refusals: AtomicUsize,
}

#[tonic::async_trait]
impl RawService for OneQueue {
    const NAME: &'static str = "loggregator.v2.Egress";

    async fn call(&self, _: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        let refuse = |left: usize| left.checked_sub(1);
        if self
            .refusals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuse)
            .is_ok()
        {
            return Err(Status::resource_exhausted("full"));
        }
        Ok(self
            .egress
            .stream(Arc::clone(&self.queue), Acknowledges::of(&request), ()))
    }
}

async fn one_queue(pki: &Pki) -> (SocketAddr, Arc<FairQueue>, Trigger, LogContext) {
    one_queue_after(0, pki).await
}

async fn one_queue_after(refusals: usize, pki: &Pki) -> (SocketAddr, Arc<FairQueue>, Trigger, LogContext) {
    let (trigger, context) = LogContext::in_memory("doppler");
    let queue = Arc::new(FairQueue::new(Capacity {
        envelopes: 10_000,
        bytes: 1 << 20,
    }));
    let egress = Egress::new(Arc::clone(&context.ledger), context.shutdown.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = GrpcServer::new(ServerTls::mutual(&pki.server).expect("server tls"))
        .add(RawServer::new(Arc::new(LinkService::new(Arc::clone(&egress))), 1 << 20))
        .add(RawServer::new(
            Arc::new(OneQueue {
                egress,
                queue: Arc::clone(&queue),
                refusals: refusals.into(),
            }),
            1 << 20,
        ));
    let (shutdown, tasks) = (context.shutdown.clone(), context.tasks.clone());
    context
        .tasks
        .spawn("server", async move { server.serve(listener, shutdown, &tasks).await });
    (address, queue, trigger, context)
}

/// A message is in flight at the doppler until the subscriber drops its receipt. What the subscriber still holds when
/// it ends its subscription is counted as lost by the doppler.
#[tokio::test]
async fn a_subscriber_acknowledges_a_message_by_dropping_it() {
    let pki = Pki::new();
    let (address, queue, _trigger, doppler) = one_queue(&pki).await;
    let (_stop, client) = LogContext::in_memory("rlp");
    let dopplers = Dopplers::new(&[pki.target(address)], &client.ledger, &client.shutdown, &client.tasks);
    let request = EgressBatchRequest {
        selectors: everything(),
        ..EgressBatchRequest::default()
    };
    let mut subscription = dopplers.subscribe(&request, Durability::Live);

    let upstream = Tracker::new();
    let parcel = |sequence, numbers| Parcel {
        batch: numbered(numbers),
        receipts: vec![upstream.receipt(sequence)],
    };
    assert!(queue.push(parcel(1, 0..5)).is_empty());
    let first = tokio::time::timeout(DEADLINE, subscription.next())
        .await
        .expect("delivered")
        .expect("not refused");
    assert_eq!((first.envelopes, first.deprecated_tags), (Some(5), false));
    let first = first.into_parcel(&client.ledger);
    assert_eq!(numbers(&first.batch), [0, 1, 2, 3, 4]);
    assert_eq!(upstream.progress().handed_on, 0);
    drop(first);
    eventually("acknowledged", || upstream.progress().handed_on == 1).await;
    assert_eq!(doppler.ledger.snapshot().sent, 5);

    assert!(queue.push(parcel(2, 5..8)).is_empty());
    let held = tokio::time::timeout(DEADLINE, subscription.next())
        .await
        .expect("delivered")
        .expect("not refused");
    drop(subscription);
    drop(held);
    eventually("counted", || doppler.ledger.snapshot().dropped_total() == 3).await;
    assert_eq!(upstream.progress().handed_on, 2);
    assert_eq!(doppler.ledger.snapshot().in_flight, 0);
}

/// A doppler has no room for subscriptions at first. The reader of a live subscription gets the refusal, and can try
/// again. A durable subscription tries again by itself.
#[tokio::test]
async fn a_refusal_reaches_the_reader_of_a_live_subscription() {
    let pki = Pki::new();
    let (_stop, client) = LogContext::in_memory("rlp");
    let request = EgressBatchRequest {
        selectors: everything(),
        ..EgressBatchRequest::default()
    };
    for durability in [Durability::Live, Durability::Durable] {
        let (address, queue, _trigger, _doppler) = one_queue_after(2, &pki).await;
        let dopplers = Dopplers::new(&[pki.target(address)], &client.ledger, &client.shutdown, &client.tasks);
        let mut subscription = dopplers.subscribe(&request, durability);
        if durability == Durability::Live {
            let refused = subscription.opened(DEADLINE).await.expect_err("refused");
            assert_eq!(refused.status.code(), tonic::Code::ResourceExhausted);
            subscription.next().await.expect_err("refused again");
        }
        subscription.opened(DEADLINE).await.expect("taken");
        assert!(queue.push(Parcel::unacknowledged(numbered(0..5))).is_empty());
        let delivery = tokio::time::timeout(DEADLINE, subscription.next())
            .await
            .expect("delivered")
            .expect("not refused");
        assert_eq!(delivery.envelopes, Some(5));
    }
}

/// A doppler that stops while messages are in its queue delivers them first.
#[tokio::test]
async fn a_stopping_doppler_empties_its_queues() {
    let pki = Pki::new();
    let (address, queue, trigger, doppler) = one_queue(&pki).await;
    let (_stop, client) = LogContext::in_memory("rlp");
    let dopplers = Dopplers::new(&[pki.target(address)], &client.ledger, &client.shutdown, &client.tasks);
    let request = EgressBatchRequest {
        selectors: everything(),
        ..EgressBatchRequest::default()
    };
    let mut subscription = dopplers.subscribe(&request, Durability::Live);
    // The stream is opened by reading from the subscription.
    eventually("connected", || {
        assert!(subscription.try_next().is_none());
        dopplers.connected() == 1
    })
    .await;
    for number in 0..3000 {
        assert!(
            queue
                .push(Parcel::unacknowledged(numbered(number..number + 1)))
                .is_empty()
        );
    }
    trigger.fire();
    let mut received = Vec::new();
    while received.len() < 3000 {
        let delivery = tokio::time::timeout(DEADLINE, subscription.next())
            .await
            .expect("delivered")
            .expect("not refused");
        received.extend(numbers(&delivery.into_parcel(&client.ledger).batch));
    }
    assert_eq!(received, (0..3000).collect::<Vec<_>>());
    eventually("all acknowledged", || doppler.ledger.snapshot().sent == 3000).await;
    assert_eq!(doppler.ledger.snapshot().dropped_total(), 0);
}
