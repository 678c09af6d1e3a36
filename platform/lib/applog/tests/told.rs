//! What a router tells, over a real link to an agent.

#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn, wait and ask for the time as they like"
)]

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use weir_applog::{AccessLogSettings, AppTags, Backend, RequestRecord, RequestSettings, Requests};
use weir_envelope::batch::{Batch, Kind};
use weir_envelope::view::Message;
use weir_flow::{LogContext, Parcel};
use weir_net::{FrameStream, GrpcServer, Messages, RawServer, RawService, Target};
use weir_rpc::egress::LinkService;
use weir_rpc::ingress::{INGRESS_SERVICE, IngressServer, Method};
use weir_tls::{Authority, ClientTls, ServerTls};

/// An agent that hands on what comes in.
struct Agent {
    ingress: IngressServer,
}

#[tonic::async_trait]
impl RawService for Agent {
    const NAME: &'static str = INGRESS_SERVICE;

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        self.ingress
            .serve(Method::named(method).expect("a method"), request)
            .await
    }
}

/// Starts an agent of `context`; returns how to reach it, and what comes in.
async fn agent(context: &LogContext) -> (Target, mpsc::Receiver<Batch>) {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::open_or_create(dir.path()).expect("an authority");
    let server = authority.issue("agent", &["metron"]).expect("a certificate");
    let client = authority.issue("router", &["router"]).expect("a certificate");
    let (batches, received) = mpsc::channel(1_000);
    let sink = move |parcel: Parcel| batches.try_send(parcel.batch).expect("there is room");
    let ingress = IngressServer::new(sink, Arc::clone(&context.ledger), context.shutdown.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = Target {
        address: listener.local_addr().expect("an address").to_string(),
        server_name: "metron".to_owned(),
        tls: ClientTls::mutual(&client).expect("client tls"),
    };
    let server = GrpcServer::new(ServerTls::mutual(&server).expect("server tls"))
        .add(RawServer::new(Arc::new(Agent { ingress }), 10 << 20))
        .add(RawServer::new(Arc::new(LinkService::ingress_only()), 1 << 20));
    let (shutdown, tasks) = (context.shutdown.clone(), context.tasks.clone());
    context
        .tasks
        .spawn("server", async move { server.serve(listener, shutdown, &tasks).await });
    (target, received)
}

/// Four threads record a hundred requests each; then the router ends. The agent has a line and a timer of each.
#[tokio::test]
async fn every_request_is_told() {
    let (_stop_agent, at_agent) = LogContext::in_memory("agent");
    let (_stop_router, at_router) = LogContext::in_memory("gorouter");
    let (target, mut received) = agent(&at_agent).await;
    let settings = RequestSettings {
        index: "3".to_owned(),
        lines: true,
        access_log: AccessLogSettings::default(),
        server_timers: true,
        client_timers: true,
    };
    let requests = Requests::start(settings, &target, &at_router);
    let tags = AppTags::new([("component", "route-emitter"), ("source_type", "APP")].into_iter());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (requests, tags) = (&requests, &tags);
            scope.spawn(move || {
                for number in 0..100 {
                    requests.record(&request(tags, thread * 1_000 + number));
                }
            });
        }
    });
    requests.finish().await;
    let snapshot = at_router.ledger.snapshot();
    assert_eq!(
        (snapshot.received, snapshot.sent, snapshot.dropped_total()),
        (800, 800, 0)
    );
    let (mut lines, mut timers) = (0, 0);
    while let Ok(batch) = received.try_recv() {
        for envelope in batch.iter() {
            assert_eq!(envelope.source_id(), "app");
            timers += usize::from(envelope.kind() == Kind::Timer);
            if let Message::Log { payload, .. } = envelope.view().message() {
                lines += 1;
                assert!(
                    payload.starts_with(b"app.example.com - [1970-01-01T00:00:00."),
                    "{payload:?}"
                );
                let tags: Vec<_> = envelope.view().tags().collect();
                let expected = [
                    ("source_type", "RTR"),
                    ("origin", "gorouter"),
                    ("component", "route-emitter"),
                ];
                assert_eq!((envelope.view().instance_id(), tags.as_slice()), ("3", &expected[..]));
            }
        }
    }
    assert_eq!((lines, timers), (400, 400));
}

/// There is no agent: what was recorded is counted as lost, each envelope once.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_is_counted() {
    let (_stop_agent, at_agent) = LogContext::in_memory("agent");
    let (_stop_router, at_router) = LogContext::in_memory("gorouter");
    let (mut target, _received) = agent(&at_agent).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    target.address = closed.local_addr().expect("an address").to_string();
    drop(closed);
    let settings = RequestSettings {
        index: "3".to_owned(),
        lines: true,
        access_log: AccessLogSettings::default(),
        server_timers: true,
        client_timers: false,
    };
    let requests = Requests::start(settings, &target, &at_router);
    let tags = AppTags::default();
    for number in 0..1_000 {
        requests.record(&request(&tags, number));
    }
    requests.finish().await;
    let snapshot = at_router.ledger.snapshot();
    assert_eq!((snapshot.received, snapshot.sent), (2_000, 0));
    assert_eq!(snapshot.dropped_total(), 2_000, "{:?}", snapshot.dropped);
}

fn request(tags: &AppTags, started: i64) -> RequestRecord<'_> {
    RequestRecord {
        host: b"app.example.com",
        method: "GET",
        uri: "/",
        protocol: "HTTP/1.1",
        status: 200,
        started,
        took: Some(Duration::from_millis(1)),
        backend: Some(Backend {
            address: "10.0.0.1:8080",
            app_id: "app",
            instance_index: "0",
            instance_id: "instance",
            tags,
        }),
        ..RequestRecord::EMPTY
    }
}
