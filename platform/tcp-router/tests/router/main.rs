//! A TCP router with a routing API whose routes a test decides.

#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn, wait and ask for the time as they like"
)]

mod api;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weir_config::ListenAddr;
use weir_eventually::{PATIENCE, eventually, eventually_async};
use weir_flow::LogContext;
use weir_platform_tcp_router::{Config, RawConfig, RawRoutes, RawTimeouts, Server};
use weir_routing_api_client::models::TcpRoute;
use weir_service::{Clock, ManualClock, Trigger};

use api::{Api, GROUP};

/// A router that runs.
struct Router {
    health: SocketAddr,
    host: IpAddr,
    clock: ManualClock,
    trigger: Trigger,
    running: JoinHandle<()>,
}

impl Router {
    async fn start(api: &Api, timeouts: RawTimeouts) -> Self {
        // An address of the loopback network that nothing else listens on: any port is free there.
        let [.., high, low] = std::process::id().to_be_bytes();
        let host = IpAddr::from([127, 72, high, low.max(1)]);
        let config = RawConfig {
            health: ListenAddr::loopback(0),
            external_address: host.to_string(),
            router_group: "default-tcp".to_owned(),
            routing_api: api.settings(),
            timeouts,
            routes: RawRoutes {
                retry: Duration::from_millis(10).into(),
                prune: Duration::from_millis(10).into(),
                ..RawRoutes::default()
            },
            ..RawConfig::default()
        };
        let (trigger, mut context) = LogContext::in_memory("tcp-router");
        let (manual, clock) = Clock::manual(0);
        context.service = context.service.with_clock(clock);
        let config = Config::try_from(config).expect("a valid configuration");
        let server = Server::bind(config, context.clone()).await.expect("bound");
        Self {
            health: server.local_addr(),
            host,
            clock: manual,
            trigger,
            running: tokio::spawn(async move {
                server.run().await.expect("it ends in order");
                context.finish(PATIENCE).await.expect("so do its tasks");
            }),
        }
    }

    /// Connects to an external port and says a byte; whether the backend answers.
    async fn serves(&self, port: u16) -> bool {
        let work = async {
            let mut stream = TcpStream::connect((self.host, port)).await.ok()?;
            stream.write_all(b"?").await.ok()?;
            stream.read_u8().await.ok()
        };
        work.await == Some(b'!')
    }

    async fn is_closed(&self, port: u16) -> bool {
        TcpStream::connect((self.host, port)).await.is_err()
    }

    /// The answer to `GET /health`.
    async fn health(&self) -> String {
        let mut stream = TcpStream::connect(self.health).await.expect("an open port");
        let request = b"GET /health HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        answer
    }
}

/// Drains as fast as it can.
fn quick() -> RawTimeouts {
    RawTimeouts {
        drain_wait: Duration::ZERO.into(),
        drain: Duration::ZERO.into(),
        ..RawTimeouts::default()
    }
}

/// A backend that answers, and a route of it at an external port of the test's own.
async fn route() -> TcpRoute {
    static NEXT: AtomicU16 = AtomicU16::new(1024);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(
                async move { while stream.read_u8().await.is_ok() && stream.write_all(b"!").await.is_ok() {} },
            );
        }
    });
    TcpRoute {
        router_group_guid: GROUP.to_owned(),
        port: NEXT.fetch_add(1, Ordering::Relaxed),
        backend_ip: address.ip().to_string(),
        backend_port: address.port(),
        ..TcpRoute::default()
    }
}

/// Routes are those of the list and of the events after it; those of other groups are not served. Health follows.
#[tokio::test]
async fn routes_follow_the_api() {
    let (listed, told) = (route().await, route().await);
    let foreign = TcpRoute {
        router_group_guid: "another".to_owned(),
        ..route().await
    };
    let api = Api::start(vec![listed.clone(), foreign.clone()]).await;
    api.shared.holds.send_replace(true);
    let router = Router::start(&api, quick()).await;
    assert!(router.health().await.starts_with("HTTP/1.1 503"));
    api.shared.holds.send_replace(false);
    eventually_async("a listed route is served", async || router.serves(listed.port).await).await;
    assert!(router.health().await.starts_with("HTTP/1.1 200"));
    assert!(router.is_closed(foreign.port).await);
    api.shared.tell("Upsert", &told).await;
    eventually_async("a route of an event is served", async || router.serves(told.port).await).await;
    api.shared.tell("Delete", &told).await;
    eventually_async("a deleted route is closed", async || router.is_closed(told.port).await).await;
    *api.shared.list.lock() = vec![told.clone()];
    api.shared.hang_up();
    eventually_async("what was missed is listed", async || router.serves(told.port).await).await;
    eventually_async("what is not listed is closed", async || {
        router.is_closed(listed.port).await
    })
    .await;
    router.trigger.fire();
    router.running.await.expect("it ends in order");
}

/// An event that arrives while the routes are read is not overwritten by the list, which is older.
#[tokio::test]
async fn events_wait_for_the_list() {
    let told = route().await;
    let api = Api::start(Vec::new()).await;
    api.shared.holds.send_replace(true);
    let router = Router::start(&api, quick()).await;
    eventually("the list is asked for", || api.shared.lists.load(Ordering::Relaxed) > 0).await;
    api.shared.tell("Upsert", &told).await;
    api.shared.holds.send_replace(false);
    eventually_async("the event is applied", async || router.serves(told.port).await).await;
}

/// A route that is not refreshed expires, but not while the routing API is away.
#[tokio::test]
async fn nothing_expires_without_the_api() {
    const TTL: Duration = Duration::from_secs(120);
    let listed = route().await;
    let api = Api::start(vec![listed.clone()]).await;
    let router = Router::start(&api, quick()).await;
    eventually_async("a listed route is served", async || router.serves(listed.port).await).await;
    api.shared.refuses.send_replace(true);
    api.shared.hang_up();
    let attempts = async |more: usize| {
        let before = api.shared.subscriptions.load(Ordering::Relaxed);
        let subscriptions = || api.shared.subscriptions.load(Ordering::Relaxed);
        eventually("the router asks again", || subscriptions() >= before + more).await;
    };
    attempts(1).await;
    router.clock.advance(TTL);
    // Meanwhile it has looked for expired routes many times.
    attempts(3).await;
    assert!(router.serves(listed.port).await);
    api.shared.refuses.send_replace(false);
    let lists = api.shared.lists.load(Ordering::Relaxed);
    eventually("the routes are read again", || {
        api.shared.lists.load(Ordering::Relaxed) > lists
    })
    .await;
    eventually_async("they are refreshed", async || router.serves(listed.port).await).await;
    eventually_async("what is not refreshed expires", async || {
        router.clock.advance(TTL);
        router.is_closed(listed.port).await
    })
    .await;
}

/// A router that is asked to stop says so to load balancers and still serves, as long as it is told to.
#[tokio::test]
async fn a_draining_router_serves() {
    let listed = route().await;
    let api = Api::start(vec![listed.clone()]).await;
    let hour = weir_config::Duration::from_secs(3600);
    let router = Router::start(
        &api,
        RawTimeouts {
            drain_wait: hour,
            ..quick()
        },
    )
    .await;
    eventually_async("a listed route is served", async || router.serves(listed.port).await).await;
    router.trigger.fire();
    eventually_async("health fails", async || {
        router.health().await.starts_with("HTTP/1.1 503")
    })
    .await;
    assert!(router.serves(listed.port).await);
}

/// A router that stops lets no new connection in, and cuts those that do not end in time.
#[tokio::test]
async fn a_stopping_router_cuts_what_stays() {
    let listed = route().await;
    let api = Api::start(vec![listed.clone()]).await;
    let router = Router::start(&api, quick()).await;
    eventually_async("a listed route is served", async || router.serves(listed.port).await).await;
    let mut stays = TcpStream::connect((router.host, listed.port))
        .await
        .expect("an open port");
    stays.write_all(b"?").await.expect("written");
    assert_eq!(stays.read_u8().await.expect("an answer"), b'!');
    router.trigger.fire();
    router.running.await.expect("it ends in order");
    assert_eq!(stays.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect((router.host, listed.port)).await.is_err());
}
