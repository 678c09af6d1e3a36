//! The places of a port, over TLS. Each address of the loopback interface is a peer of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn, wait and ask for the time as they like"
)]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::client::TlsStream;
use weir_net::{PortLimits, RequestBody, serve_http_within};
use weir_service::{Context, Trigger};
use weir_tls::{Authority, ClientTls, IdentityFiles, ServerTls, server_name};

/// How long a test waits for an event before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The last byte of the address from which most connections come.
const CROWD: u8 = 2;

/// The last byte of another peer's address.
const OTHER: u8 = 3;

/// A port with four places for all callers, two of them for one address, and one place for callers of the stack. It
/// sends an answer for each permit of `answers`.
struct Port {
    _dir: tempfile::TempDir,
    identity: IdentityFiles,
    address: SocketAddr,
    answers: Arc<Semaphore>,
    /// How many requests the service has received.
    asked: watch::Receiver<usize>,
    _trigger: Trigger,
}

type Stream = TlsStream<TcpStream>;

impl Port {
    async fn open() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open_or_create(dir.path()).expect("an authority");
        let identity = authority.issue("server", &["server"]).expect("a certificate");
        let tls = ServerTls::public_knowing(&identity).expect("server tls");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (trigger, context) = Context::new("server");
        let answers = Arc::new(Semaphore::new(0));
        let may_answer = Arc::clone(&answers);
        let (count, asked) = watch::channel(0);
        let service = tower::service_fn(move |_: http::Request<RequestBody>| {
            count.send_modify(|count| *count += 1);
            let may_answer = Arc::clone(&may_answer);
            async move {
                may_answer.acquire().await.expect("open").forget();
                Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"answer"))))
            }
        });
        let limits = PortLimits {
            reserved: 1,
            ..PortLimits::of(4)
        };
        tokio::spawn(async move {
            serve_http_within(
                limits,
                listener,
                &tls,
                service,
                context.shutdown.clone(),
                &context.tasks,
            )
            .await;
        });
        Self {
            _dir: dir,
            identity,
            address,
            answers,
            asked,
            _trigger: trigger,
        }
    }

    /// A connection from 127.0.0.`from`. If `is_known`, the client shows a certificate of the stack's CA.
    async fn connect(&self, from: u8, is_known: bool) -> Stream {
        let tls = match is_known {
            true => ClientTls::trusting_as(&self.identity.ca, &self.identity),
            false => ClientTls::trusting(&self.identity.ca),
        };
        let socket = TcpSocket::new_v4().expect("a socket");
        let from = Ipv4Addr::new(127, 0, 0, from);
        socket
            .bind((from, 0).into())
            .expect("an address of the loopback interface");
        let stream = socket.connect(self.address).await.expect("a connection");
        let connector = tls.expect("client tls").connector();
        let stream = connector.connect(server_name("server").expect("a name"), stream).await;
        stream.expect("a handshake")
    }

    /// Waits until the service has received `times` requests.
    async fn is_asked(&self, times: usize) {
        let mut asked = self.asked.clone();
        let enough = asked.wait_for(|count| *count >= times);
        let waited = tokio::time::timeout(PATIENCE, enough).await;
        drop(waited.expect("in time").expect("a port"));
    }

    /// Lets one request be answered, and waits for the answer on `stream`.
    async fn answer(&self, stream: &mut Stream) {
        self.answers.add_permits(1);
        read_answer(stream).await;
    }
}

async fn ask(stream: &mut Stream) {
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nhost: server\r\n\r\n").await;
    asked.expect("written");
    stream.flush().await.expect("flushed");
}

async fn read_answer(stream: &mut Stream) {
    let mut text = String::new();
    while !text.ends_with("answer") {
        let mut bytes = [0; 1024];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await;
        let count = read.expect("in time").expect("read");
        assert!(count > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..count]).expect("text"));
    }
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

/// Makes a request on a connection and reads the answer.
async fn is_served(port: &Port, stream: &mut Stream) {
    ask(stream).await;
    port.answer(stream).await;
}

/// Waits until the server has closed the connection.
async fn is_closed(stream: &mut Stream) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    drop(read.expect("closed"));
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

/// An address that has its share loses its longest idle connection to a new one. Clients of other addresses are served.
#[tokio::test]
async fn the_longest_idle_connection_is_closed() {
    let port = Port::open().await;
    let mut first = port.connect(CROWD, false).await;
    is_served(&port, &mut first).await;
    let mut second = port.connect(CROWD, false).await;
    is_served(&port, &mut second).await;
    is_served(&port, &mut first).await;
    let mut third = port.connect(CROWD, false).await;
    is_closed(&mut second).await;
    for stream in [&mut first, &mut third, &mut port.connect(OTHER, false).await] {
        is_served(&port, stream).await;
    }
}

/// While requests are under way on all connections of an address, a new connection of that address is closed. Clients
/// of other addresses, and components of the stack at that address, are served.
#[tokio::test]
async fn a_busy_connection_keeps_its_place() {
    let port = Port::open().await;
    let [mut first, mut second] = [port.connect(CROWD, false).await, port.connect(CROWD, false).await];
    for stream in [&mut first, &mut second] {
        ask(stream).await;
    }
    let mut other = port.connect(OTHER, false).await;
    ask(&mut other).await;
    port.is_asked(3).await;
    let mut refused = port.connect(CROWD, false).await;
    is_closed(&mut refused).await;
    let mut known = port.connect(CROWD, true).await;
    ask(&mut known).await;
    port.is_asked(4).await;
    port.answers.add_permits(4);
    for stream in [&mut first, &mut second, &mut other, &mut known] {
        read_answer(stream).await;
    }
    // Connections whose requests were answered are idle, so one of them makes room.
    is_served(&port, &mut port.connect(CROWD, false).await).await;
}

/// Connections that never begin their handshake take no place from other connections, not even of their own address.
#[tokio::test]
async fn unfinished_handshakes_take_no_place() {
    let port = Port::open().await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind((Ipv4Addr::new(127, 0, 0, CROWD), 0).into())
            .expect("an address");
        silent.push(socket.connect(port.address).await.expect("a connection"));
    }
    for from in [CROWD, OTHER] {
        is_served(&port, &mut port.connect(from, false).await).await;
    }
    drop(silent);
}
