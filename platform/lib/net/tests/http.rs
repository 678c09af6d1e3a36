//! HTTP connections that are not used as they should be, over real TLS.
//!
//! The clock stands still once a connection is as it should be, so that a minute takes no time.

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

/// More than the kernel's buffers take.
const LARGE: usize = 32 << 20;

struct Server {
    dir: tempfile::TempDir,
    address: SocketAddr,
    /// Answers that were made and are not gone.
    answers: Arc<AtomicUsize>,
    /// Those that are in memory as a whole.
    whole: Arc<AtomicUsize>,
    _trigger: Trigger,
}

/// Something that counts as long as it is there.
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
    /// Answers everything with [`LARGE`] bytes, on one connection at a time.
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open_or_create(dir.path()).expect("an authority");
        let identity = authority.issue("face", &["face"]).expect("a certificate");
        let tls = ServerTls::public(&identity.cert, &identity.key).expect("server tls");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (trigger, context) = Context::new("face");
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
        let stream = connector.connect(server_name("face").expect("a name"), stream).await;
        stream.expect("a handshake")
    }
}

/// Reads until the server closes; how long that took, and how much there was.
async fn until_closed(stream: &mut TlsStream<TcpStream>) -> (u64, usize) {
    tokio::time::pause();
    let start = Instant::now();
    let mut rest = Vec::new();
    // A server that cuts does not say goodbye.
    stream.read_to_end(&mut rest).await.ok();
    let seconds = start.elapsed().as_secs();
    tokio::time::resume();
    (seconds, rest.len())
}

/// Nothing can be sent any more: the time passes after which nobody reads so slowly.
async fn long_after() {
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(330)).await;
    tokio::time::resume();
}

/// Who shakes hands and says nothing gives the place back: before any request, and behind HTTP/2's first words.
#[tokio::test]
async fn silence_is_not_waited_for() {
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

/// Who asks and does not read is cut, and what was to be read is given up; the next one is served.
#[tokio::test]
async fn who_does_not_read_is_cut() {
    let server = Server::start().await;
    let mut stream = server.connect(ALPN_HTTP1).await;
    let request = b"GET / HTTP/1.1\r\nhost: face\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let mut beginning = [0; 1024];
    stream.read_exact(&mut beginning).await.expect("the answer begins");
    long_after().await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    assert!(rest.len() < LARGE / 2, "{}", rest.len());

    let mut stream = server.connect(ALPN_HTTP1).await;
    stream.write_all(request).await.expect("written");
    let mut answer = vec![0; LARGE];
    stream.read_exact(&mut answer).await.expect("the whole answer");
}

/// The same over HTTP/2, where the answer lies in the transport: all but the last byte was sent, and for that there is no
/// room. The answer counts until the client is cut.
#[tokio::test]
async fn who_leaves_the_last_byte_is_cut() {
    let server = Server::start().await;
    let room = u32::try_from(LARGE).expect("it fits");
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(room - 1)
        .initial_connection_window_size(2 * room)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(server.connect(ALPN_H2).await))
        .await
        .expect("a connection");
    let connection = tokio::spawn(connection);
    let request = http::Request::get("https://face/").body(Empty::new());
    let unread = client
        .send_request(request.expect("a request"))
        .await
        .expect("an answer");
    // As much is sent as there is room for: nobody needs the whole answer any more.
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
    long_after().await;
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
