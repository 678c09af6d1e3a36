//! The HTTP server over TLS, with clients that send nothing or do not read their answers.
//!
//! The tests pause the clock once a connection is set up, so that a minute takes no time.

#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn, wait and ask for the time as they like"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use weir_net::{PortLimits, RequestBody, serve_http_within, serve_plain_http};
use weir_service::{Context, Trigger};
use weir_tls::{ALPN_H2, ALPN_HTTP1, Authority, ClientTls, ServerTls, server_name};

/// The size of an answer in bytes: more than the kernel's buffers hold.
const LARGE: usize = 32 << 20;

struct Server {
    dir: tempfile::TempDir,
    address: SocketAddr,
    /// How many answers exist.
    answers: Arc<AtomicUsize>,
    /// How many answers have their whole text in memory.
    whole: Arc<AtomicUsize>,
    _trigger: Trigger,
}

/// A value that is counted as long as it exists.
struct Counted<T> {
    it: T,
    count: Arc<AtomicUsize>,
}

impl<T> Counted<T> {
    fn new(it: T, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self {
            it,
            count: Arc::clone(count),
        }
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Counted<Vec<u8>> {
    fn as_ref(&self) -> &[u8] {
        &self.it
    }
}

impl Body for Counted<Full<Bytes>> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.it).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.it.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.it.size_hint()
    }
}

impl Server {
    /// A server that answers every request with [`LARGE`] bytes, on one connection at a time.
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open_or_create(dir.path()).expect("an authority");
        let identity = authority.issue("server", &["server"]).expect("a certificate");
        let tls = ServerTls::public(&identity.cert, &identity.key).expect("server tls");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (trigger, context) = Context::new("server");
        let (answers, whole) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, in_memory) = (Arc::clone(&answers), Arc::clone(&whole));
        let service = tower::service_fn(move |_: http::Request<RequestBody>| {
            let text = Bytes::from_owner(Counted::new(vec![b'x'; LARGE], &in_memory));
            let body = Counted::new(Full::new(text), &counted);
            async { Ok::<_, Infallible>(http::Response::new(body)) }
        });
        tokio::spawn(async move {
            let limits = PortLimits::of(1);
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
            dir,
            address,
            answers,
            whole,
            _trigger: trigger,
        }
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    async fn connect(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        let tls = ClientTls::trusting(&self.dir.path().join("ca.crt")).expect("client tls");
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let connector = tls.with_alpn(&[alpn]).connector();
        let stream = connector.connect(server_name("server").expect("a name"), stream).await;
        stream.expect("a handshake")
    }
}

/// Reads until the server closes the connection. Returns how many seconds that took, and how many bytes were read.
async fn until_closed(stream: &mut TlsStream<TcpStream>) -> (u64, usize) {
    tokio::time::pause();
    let start = Instant::now();
    let mut rest = Vec::new();
    // A server that cuts a connection sends no TLS end, which is an error here.
    stream.read_to_end(&mut rest).await.ok();
    let seconds = start.elapsed().as_secs();
    tokio::time::resume();
    (seconds, rest.len())
}

/// Lets the time pass after which even the slowest client counts as stalled.
async fn until_stalled() {
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(330)).await;
    tokio::time::resume();
}

/// A client that sends nothing after its TLS handshake, a part of a request, or only the preface of HTTP/2 loses its
/// place.
#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let server = Server::start().await;
    for (alpn, words) in [
        (ALPN_HTTP1, &b""[..]),
        (ALPN_H2, b""),
        (ALPN_HTTP1, b"GET / HT"),
        (ALPN_H2, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ] {
        let mut stream = server.connect(alpn).await;
        stream.write_all(words).await.expect("written");
        let (seconds, _) = until_closed(&mut stream).await;
        assert!((9..=20).contains(&seconds), "{words:?}: {seconds}");
    }
}

/// A client that does not read its answer is cut, and the next client is served.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let server = Server::start().await;
    let mut stream = server.connect(ALPN_HTTP1).await;
    let request = b"GET / HTTP/1.1\r\nhost: server\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let mut beginning = [0; 1024];
    stream.read_exact(&mut beginning).await.expect("the answer begins");
    until_stalled().await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    assert!(rest.len() < LARGE / 2, "{}", rest.len());

    let mut stream = server.connect(ALPN_HTTP1).await;
    stream.write_all(request).await.expect("written");
    let mut answer = vec![0; LARGE];
    stream.read_exact(&mut answer).await.expect("the whole answer");
}

/// An HTTP/2 client leaves no room for the last byte of an answer, which then lies in the transport. The answer exists
/// until the client is cut.
#[tokio::test]
async fn a_client_that_leaves_the_last_byte_is_cut() {
    let server = Server::start().await;
    let room = u32::try_from(LARGE).expect("it fits");
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(room - 1)
        .initial_connection_window_size(2 * room)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(server.connect(ALPN_H2).await))
        .await
        .expect("a connection");
    let connection = tokio::spawn(connection);
    let request = http::Request::get("https://server/").body(Empty::new());
    let unread = client
        .send_request(request.expect("a request"))
        .await
        .expect("an answer");
    // Once all bytes with room are sent, the whole text of the answer is no longer in memory.
    let sent = async {
        while server.whole.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), sent)
        .await
        .expect("all but the last piece");
    assert_eq!(server.answers(), 1);
    assert!(!connection.is_finished());
    until_stalled().await;
    let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
    assert!(ended.is_ok(), "the client was not cut");
    assert_eq!(server.answers(), 0);
    drop(unread);
}

/// A server without TLS answers, too.
#[tokio::test]
async fn a_plain_server_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (_trigger, context) = Context::new("face");
    let service = tower::service_fn(|_: http::Request<RequestBody>| async {
        Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"answer"))))
    });
    let (shutdown, tasks) = (context.shutdown.clone(), context.tasks.clone());
    let serving = context.tasks.spawn("face", async move {
        serve_plain_http(PortLimits::of(4), listener, service, shutdown, &tasks).await;
    });
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = b"GET / HTTP/1.1\r\nhost: face\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("answer"),
        "{answer}"
    );
    serving.abort();
}
