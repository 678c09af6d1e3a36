//! External ports with real clients and backends on the loopback network.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use weir_eventually::{PATIENCE, eventually};
use weir_net::{ProxiedAddresses, ProxyHeader};
use weir_service::Context;
use weir_tls::{Authority, ClientTls, ServerTls};

use super::*;
use crate::config::{AcceptProxy, SendProxy};
use crate::relay::Pipes;
use crate::router::Times;
use crate::routes::{Backend, Name};
use crate::sessions::Sessions;
use crate::stats::Stats;

/// The settings of a test.
struct Settings {
    times: Times,
    pipes: usize,
    accept: AcceptProxy,
    send: SendProxy,
    tls: Option<ClientTls>,
    places: SharedPlaces,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            times: Times {
                connect: PATIENCE,
                idle: PATIENCE,
                hello: PATIENCE,
            },
            pipes: 8,
            accept: AcceptProxy::Off,
            send: SendProxy::Off,
            tls: None,
            places: SharedPlaces::new(1000, 1000),
        }
    }
}

/// A router whose routes a test decides.
struct World {
    ports: Ports,
    router: Arc<Router>,
    host: IpAddr,
    port: u16,
    routes: Routes,
    _context: (Trigger, Context),
}

type Entry<'e> = (Option<&'e str>, Vec<Backend>);

impl World {
    fn new(settings: Settings) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(1024);
        // An address of the loopback network that nothing else listens on: any port is free there.
        let [.., high, low] = std::process::id().to_be_bytes();
        let host = IpAddr::from([127, 71, high, low.max(1)]);
        let (trigger, context) = Context::new("tcp-router");
        let router = Arc::new(Router {
            tls: settings.tls,
            pipes: Pipes::new(settings.pipes),
            times: settings.times,
            expected: settings.accept,
            announced: settings.send.version(),
            sessions: Sessions::default(),
            stats: Stats::new(&context.meter()),
            telemetry: None,
            clock: context.clock.clone(),
        });
        let ports = Ports::new(
            host,
            vec![22],
            settings.places,
            Arc::clone(&router),
            context.tasks.clone(),
        );
        Self {
            ports,
            router,
            host,
            port: NEXT.fetch_add(1, Ordering::Relaxed),
            routes: Routes::default(),
            _context: (trigger, context),
        }
    }

    /// Serves these routes, by name, on the port of the test.
    async fn serve(&mut self, routes: Vec<Entry<'_>>) {
        let entries = routes.into_iter();
        let entries = entries.map(|(name, backends)| ((self.port, Name::new(name)), backends));
        self.routes = Routes::of(entries.collect(), &self.routes);
        self.ports.apply(&self.routes).await;
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect((self.host, self.port)).await.expect("an open port")
    }
}

fn backend(address: SocketAddr) -> Backend {
    Backend {
        host: address.ip().to_string().into(),
        port: address.port(),
        tls: false,
        instance_id: "".into(),
    }
}

async fn listener() -> (TcpListener, Backend) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, backend(address))
}

/// A backend that answers each byte with its own, and ends when its client does.
async fn tagged(tag: u8) -> Backend {
    let (listener, backend) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(
                async move { while stream.read_u8().await.is_ok() && stream.write_all(&[tag]).await.is_ok() {} },
            );
        }
    });
    backend
}

/// A backend that nobody listens for.
async fn absent() -> Backend {
    listener().await.1
}

async fn in_time<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

/// Says a byte; who answers.
async fn ask(stream: &mut TcpStream) -> u8 {
    in_time(async {
        stream.write_all(b"?").await.expect("written");
        stream.read_u8().await.expect("an answer")
    })
    .await
}

/// Bytes that differ from place to place.
fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|index| (index ^ (index >> 8) ^ (index >> 16)).to_le_bytes()[0])
        .collect()
}

/// A client that has said all ends its half, and the backend answers after that; with pipes and without.
#[tokio::test]
async fn each_half_ends_by_itself() {
    const SIZE: usize = 5 << 20;
    for pipes in [0, 8] {
        let mut world = World::new(Settings {
            pipes,
            ..Settings::default()
        });
        let (listener, backend) = listener().await;
        world.serve(vec![(None, vec![backend])]).await;
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.expect("read");
            said.reverse();
            stream.write_all(&said).await.expect("written");
        });
        let mut client = world.connect().await;
        client.write_all(&pattern(SIZE)).await.expect("written");
        client.shutdown().await.expect("ended");
        let mut answer = Vec::new();
        in_time(client.read_to_end(&mut answer)).await.expect("read");
        answering.await.expect("no panic");
        answer.reverse();
        assert!(answer == pattern(SIZE), "{} bytes", answer.len());
        in_time(world.router.sessions.all_ended()).await;
    }
}

/// Both directions at once, with a client that reads slowly in the beginning: every byte arrives in order.
#[tokio::test]
async fn streams_cross() {
    const SIZE: usize = 8 << 20;
    let mut world = World::new(Settings::default());
    let (listener, backend) = listener().await;
    world.serve(vec![(None, vec![backend])]).await;
    let echoing = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.expect("copied");
        to.shutdown().await.expect("ended");
    });
    let (mut from, mut to) = world.connect().await.into_split();
    let saying = tokio::spawn(async move {
        to.write_all(&pattern(SIZE)).await.expect("written");
        to.shutdown().await.expect("ended");
    });
    let mut heard = Vec::new();
    for _ in 0..1000 {
        heard.push(in_time(from.read_u8()).await.expect("read"));
    }
    in_time(from.read_to_end(&mut heard)).await.expect("read");
    assert!(heard == pattern(SIZE), "{} bytes", heard.len());
    for task in [echoing, saying] {
        task.await.expect("no panic");
    }
}

/// A backend that breaks off is not mistaken for one that has ended, and neither is a client.
#[tokio::test]
async fn a_break_is_passed_on() {
    let mut world = World::new(Settings::default());
    let (listener, backend) = listener().await;
    world.serve(vec![(None, vec![backend])]).await;
    let break_off = |stream: TcpStream| {
        let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        linger.expect("an open socket");
    };
    let mut rest = Vec::new();
    let mut client = world.connect().await;
    let (mut served, _) = in_time(listener.accept()).await.expect("a connection");
    served.write_all(b"half").await.expect("written");
    in_time(client.read_exact(&mut [0; 4])).await.expect("read");
    break_off(served);
    in_time(client.read_to_end(&mut rest))
        .await
        .expect_err("the backend broke off");
    let mut client = world.connect().await;
    let (mut served, _) = in_time(listener.accept()).await.expect("a connection");
    client.write_all(b"half").await.expect("written");
    in_time(served.read_exact(&mut [0; 4])).await.expect("read");
    break_off(client);
    in_time(served.read_to_end(&mut rest))
        .await
        .expect_err("the client broke off");
    in_time(world.router.sessions.all_ended()).await;
}

/// A backend that refuses is passed over, and the client does not notice; where all refuse, the connection ends.
#[tokio::test]
async fn the_next_backend_is_tried() {
    let mut world = World::new(Settings::default());
    let backends = vec![absent().await, tagged(b'b').await, absent().await];
    world.serve(vec![(None, backends)]).await;
    for _ in 0..3 {
        assert_eq!(ask(&mut world.connect().await).await, b'b');
    }
    world.serve(vec![(None, vec![absent().await])]).await;
    let mut client = world.connect().await;
    assert_eq!(in_time(client.read(&mut [0; 1])).await.unwrap_or(0), 0);
}

/// Backends come and go while clients connect and speak: no connection fails, and those that speak already keep their backend.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_routes_breaks_nothing() {
    const CLIENTS: usize = 8;
    let mut world = World::new(Settings::default());
    let [one, two] = [tagged(b'1').await, tagged(b'2').await];
    world.serve(vec![(None, vec![one.clone()])]).await;
    let mut speaking = world.connect().await;
    assert_eq!(ask(&mut speaking).await, b'1');
    let (address, served) = ((world.host, world.port), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let served = Arc::clone(&served);
            tokio::spawn(async move {
                for _ in 0..50 {
                    let mut client = TcpStream::connect(address).await.expect("an open port");
                    for _ in 0..3 {
                        assert!(matches!(ask(&mut client).await, b'1' | b'2'));
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut changes = 0;
    while served.load(Ordering::Relaxed) < CLIENTS * 50 && !clients.iter().all(|client| client.is_finished()) {
        let backends = match changes % 3 {
            0 => vec![two.clone()],
            1 => vec![one.clone(), two.clone()],
            _ => vec![one.clone()],
        };
        world.serve(vec![(None, backends)]).await;
        changes += 1;
        tokio::task::yield_now().await;
    }
    for client in clients {
        client.await.expect("no connection failed");
    }
    assert!(changes > 3, "{changes}");
    assert_eq!(ask(&mut speaking).await, b'1');
    world.serve(Vec::new()).await;
    assert_eq!(ask(&mut speaking).await, b'1');
    let closed = weir_eventually::until("the port is closed", async || {
        TcpStream::connect(address).await.map_or(Ok(()), |_| Err("open"))
    });
    closed.await.expect("closed");
}

/// Many silent connections are kept, and all of them are served when they speak.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_kept() {
    let mut world = World::new(Settings::default());
    world.serve(vec![(None, vec![tagged(b'a').await])]).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = world.connect().await;
        assert_eq!(ask(&mut client).await, b'a');
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(ask(client).await, b'a');
    }
}

/// The first bytes of a client that says hello to `name`.
fn hello(name: &str) -> Vec<u8> {
    let length = |count: usize| u16::try_from(count).expect("short").to_be_bytes();
    let entry = [&[0][..], &length(name.len()), name.as_bytes()].concat();
    let names = [&length(entry.len())[..], &entry].concat();
    let extension = [&[0, 0][..], &length(names.len()), &names].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0, 0, 2, 0x13, 1, 1, 0],
        &length(extension.len()),
        &extension,
    ]
    .concat();
    let message = [&[1, 0][..], &length(body.len()), &body].concat();
    [&[22, 3, 1][..], &length(message.len()), &message].concat()
}

/// The name in a hello decides, also when it comes byte by byte, and the backend gets every byte of it. Garbage goes to the route
/// without a name, and so does a client that is silent for too long.
#[tokio::test]
async fn names_in_hellos_decide() {
    let mut world = World::new(Settings {
        times: Times {
            hello: Duration::from_millis(50),
            ..Settings::default().times
        },
        ..Settings::default()
    });
    let patient = Settings::default().times;
    let (secure, of_name) = listener().await;
    let default = tagged(b'd').await;
    world
        .serve(vec![
            (Some("a.example"), vec![of_name.clone()]),
            (None, vec![default.clone()]),
        ])
        .await;
    let mut silent = world.connect().await;
    in_time(silent.write_all(&hello("a.example")[..9]))
        .await
        .expect("written");
    assert_eq!(
        in_time(silent.read_u8()).await.expect("the other backend answers"),
        b'd'
    );
    let mut world = World::new(Settings {
        times: patient,
        ..Settings::default()
    });
    world
        .serve(vec![(Some("a.example"), vec![of_name.clone()]), (None, vec![default])])
        .await;
    let said = hello("A.example");
    let mut slow = world.connect().await;
    slow.set_nodelay(true).expect("a socket");
    for byte in &said {
        slow.write_all(&[*byte]).await.expect("written");
        tokio::task::yield_now().await;
    }
    let (mut served, _) = in_time(secure.accept()).await.expect("a connection");
    let mut heard = vec![0; said.len()];
    in_time(served.read_exact(&mut heard)).await.expect("read");
    assert_eq!(heard, said);
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], &hello("b.example"), &[22, 9, 9, 9]] {
        let mut client = world.connect().await;
        client.write_all(first).await.expect("written");
        assert_eq!(in_time(client.read_u8()).await.expect("an answer"), b'd');
    }
    world.serve(vec![(Some("a.example"), vec![of_name])]).await;
    let mut client = world.connect().await;
    client.write_all(&hello("b.example")).await.expect("written");
    assert_eq!(
        in_time(client.read(&mut [0; 1])).await.unwrap_or(0),
        0,
        "no route is for it"
    );
}

/// A header from a load balancer is read and believed, and backends are sent one; without it the connection is closed.
#[tokio::test]
async fn headers_name_the_client() {
    let from = ProxiedAddresses {
        source: "203.0.113.7:4000".parse().expect("an address"),
        destination: "198.51.100.1:443".parse().expect("an address"),
    };
    for send in [SendProxy::V1, SendProxy::V2] {
        let mut world = World::new(Settings {
            accept: AcceptProxy::Required,
            send,
            ..Settings::default()
        });
        let (listener, backend) = listener().await;
        world.serve(vec![(None, vec![backend])]).await;
        let mut client = world.connect().await;
        let other = [SendProxy::V2, SendProxy::V1][usize::from(send == SendProxy::V2)];
        let header = from.header(other.version().expect("a version"));
        client
            .write_all(&[&header[..], b"hello"].concat())
            .await
            .expect("written");
        let (mut served, _) = in_time(listener.accept()).await.expect("a connection");
        let expected = from.header(send.version().expect("a version"));
        let mut heard = vec![0; expected.len() + 5];
        in_time(served.read_exact(&mut heard)).await.expect("read");
        assert_eq!(heard, [&expected[..], b"hello"].concat());
        let mut client = world.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
        assert_eq!(in_time(client.read(&mut [0; 1])).await.unwrap_or(0), 0);
    }
}

/// Without a header from a load balancer, the backend is told the client itself.
#[tokio::test]
async fn a_client_is_named_by_its_own_address() {
    let mut world = World::new(Settings {
        accept: AcceptProxy::Optional,
        send: SendProxy::V2,
        ..Settings::default()
    });
    let (listener, backend) = listener().await;
    world.serve(vec![(None, vec![backend])]).await;
    let mut client = world.connect().await;
    client.write_all(b"hello").await.expect("written");
    let (mut served, _) = in_time(listener.accept()).await.expect("a connection");
    let mut heard = vec![0; 28];
    in_time(served.read_exact(&mut heard)).await.expect("read");
    let addresses = Some(ProxiedAddresses {
        source: client.local_addr().expect("an address"),
        destination: client.peer_addr().expect("an address"),
    });
    assert_eq!(
        ProxyHeader::parse(&heard),
        ProxyHeader::Present { length: 28, addresses }
    );
}

/// A backend with TLS is used if it is the instance that it should be, and sees the router's certificate.
#[tokio::test]
async fn instances_prove_who_they_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::open_or_create(dir.path()).expect("an authority");
    let identity = authority.issue("instance", &["instance-1"]).expect("a certificate");
    let own = authority.issue("tcp-router", &["tcp-router"]).expect("a certificate");
    let tls = ServerTls::mutual(&identity).expect("TLS").with_alpn(&[]);
    let (listener, backend) = listener().await;
    let instance = |instance_id: &str| Backend {
        tls: true,
        instance_id: instance_id.into(),
        ..backend.clone()
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let Ok(mut stream) = tls.acceptor().accept(stream).await else {
                continue;
            };
            tokio::spawn(async move {
                let mut said = Vec::new();
                stream.read_to_end(&mut said).await.expect("read");
                stream.write_all(&said).await.expect("written");
                stream.shutdown().await.expect("ended");
            });
        }
    });
    let mut world = World::new(Settings {
        tls: Some(ClientTls::mutual(&own).expect("TLS").with_alpn(&[])),
        ..Settings::default()
    });
    world.serve(vec![(None, vec![instance("instance-1")])]).await;
    let mut client = world.connect().await;
    client.write_all(&pattern(1 << 20)).await.expect("written");
    client.shutdown().await.expect("ended");
    let mut answer = Vec::new();
    in_time(client.read_to_end(&mut answer)).await.expect("read");
    assert!(answer == pattern(1 << 20), "{} bytes", answer.len());
    world.serve(vec![(None, vec![instance("instance-2")])]).await;
    let mut client = world.connect().await;
    assert_eq!(
        in_time(client.read(&mut [0; 1])).await.unwrap_or(0),
        0,
        "another instance"
    );
}

/// A network that has its share gets no more, and others do.
#[tokio::test]
async fn networks_have_shares() {
    let mut world = World::new(Settings {
        places: SharedPlaces::new(3, 2),
        ..Settings::default()
    });
    world.serve(vec![(None, vec![tagged(b'a').await])]).await;
    let mut kept = [world.connect().await, world.connect().await];
    for client in &mut kept {
        assert_eq!(ask(client).await, b'a');
    }
    let mut refused = world.connect().await;
    assert_eq!(in_time(refused.read(&mut [0; 1])).await.unwrap_or(0), 0);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind((Ipv4Addr::new(127, 0, 0, 9), 0).into())
        .expect("an address");
    let mut other = socket
        .connect((world.host, world.port).into())
        .await
        .expect("a connection");
    assert_eq!(ask(&mut other).await, b'a');
    for client in &mut kept {
        assert_eq!(ask(client).await, b'a');
    }
}

/// A connection on which nothing is carried ends, and one that is cut ends too.
#[tokio::test]
async fn connections_end_when_they_have_to() {
    let mut world = World::new(Settings {
        times: Times {
            idle: Duration::from_millis(20),
            ..Settings::default().times
        },
        ..Settings::default()
    });
    let backend = tagged(b'a').await;
    world.serve(vec![(None, vec![backend.clone()])]).await;
    assert_eq!(in_time(world.connect().await.read(&mut [0; 1])).await.unwrap_or(0), 0);
    let mut world = World::new(Settings::default());
    world.serve(vec![(None, vec![backend])]).await;
    let mut client = world.connect().await;
    assert_eq!(ask(&mut client).await, b'a');
    world.ports.close_all();
    assert_eq!(ask(&mut client).await, b'a');
    assert_eq!(world.router.sessions.cut_all(), 1);
    assert_eq!(in_time(client.read(&mut [0; 1])).await.unwrap_or(0), 0);
    in_time(world.router.sessions.all_ended()).await;
}

/// A reserved port is not opened, and one that is taken is opened when it is free.
#[tokio::test]
async fn ports_are_opened_when_they_can_be() {
    let mut world = World::new(Settings::default());
    let backend = tagged(b'a').await;
    let taken = TcpListener::bind((world.host, world.port)).await.expect("a free port");
    world.serve(vec![(None, vec![backend.clone()])]).await;
    assert!(world.ports.open.is_empty());
    drop(taken);
    world.serve(vec![(None, vec![backend.clone()])]).await;
    eventually("it is open", || world.ports.open.contains_key(&world.port)).await;
    assert_eq!(ask(&mut world.connect().await).await, b'a');
    world.port = 22;
    world.serve(vec![(None, vec![backend])]).await;
    assert!(world.ports.open.is_empty());
}

/// A connection that is carried takes little memory beside its sockets.
#[tokio::test]
async fn a_connection_is_small() {
    let mut world = World::new(Settings::default());
    world.serve(vec![(None, vec![absent().await])]).await;
    let port = Arc::clone(&world.ports.open[&world.port].port);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let context = &world._context.1;
    let shutdown = context.shutdown.clone();
    let mut connections = Connections::accept_plain(listener, PortLimits::of(1), shutdown, &context.tasks);
    let _client = TcpStream::connect(address).await.expect("an open port");
    let connection = connections.next().await.expect("a connection");
    let size = size_of_val(&session::serve(connection, port, Arc::clone(&world.router)));
    assert!(size <= 4096, "{size}");
}
