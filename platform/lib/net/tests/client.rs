//! The HTTPS client over TLS, against servers that answer, close the connection early, or send too much.

#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn, wait and ask for the time as they like"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use weir_net::{AnswerLimits, HttpsClient, HttpsError};
use weir_tls::{Authority, ClientTls, ServerTls};

const LIMITS: AnswerLimits = AnswerLimits {
    deadline: Duration::from_secs(20),
    body: 1000,
};

/// The behaviour of a server on one connection, which is given with its number.
type Script = fn(usize, Wire) -> futures::future::BoxFuture<'static, ()>;

/// A server that follows a script and records its requests.
struct Server {
    dir: tempfile::TempDir,
    address: SocketAddr,
    /// For each request, the number of its connection and its first line.
    asked: Arc<Mutex<Vec<(usize, String)>>>,
}

/// The server's side of a connection.
struct Wire {
    number: usize,
    stream: TlsStream<TcpStream>,
    asked: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Wire {
    /// Reads the head of a request. Returns false where the client has closed the connection.
    async fn request(&mut self) -> bool {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return false,
            }
        }
        let head = String::from_utf8(head).expect("text");
        let line = head.lines().next().unwrap_or_default().to_owned();
        self.asked.lock().push((self.number, line));
        true
    }

    async fn answer(&mut self, status: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        // The client may have closed the connection.
        drop(self.stream.write_all(&[head.as_bytes(), body].concat()).await);
        drop(self.stream.flush().await);
    }
}

impl Server {
    async fn start(script: Script) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open_or_create(dir.path()).expect("an authority");
        let identity = authority
            .issue("server", &["server", "127.0.0.1"])
            .expect("a certificate");
        let tls = ServerTls::public(&identity.cert, &identity.key).expect("server tls");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<(usize, String)>>>::default();
        let notes = Arc::clone(&asked);
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (tls, asked) = (tls.clone(), Arc::clone(&notes));
                tokio::spawn(async move {
                    if let Ok(stream) = tls.acceptor().accept(stream).await {
                        script(number, Wire { number, stream, asked }).await;
                    }
                });
            }
        });
        Self { dir, address, asked }
    }

    fn tls(&self) -> ClientTls {
        let authority = Authority::open_or_create(self.dir.path()).expect("an authority");
        ClientTls::trusting(&authority.ca_file()).expect("client tls")
    }

    fn client(&self) -> HttpsClient {
        HttpsClient::new(&self.tls())
    }

    fn request(&self, method: Method, path: &str) -> Request<Bytes> {
        Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.address))
            .body(Bytes::new())
            .expect("a request")
    }

    async fn get(&self, client: &HttpsClient, path: &str) -> Result<Response<Bytes>, HttpsError> {
        client.send(self.request(Method::GET, path), LIMITS).await
    }

    fn asked(&self) -> Vec<(usize, String)> {
        self.asked.lock().clone()
    }
}

/// Answers every request until the client closes the connection.
fn answers(_: usize, mut wire: Wire) -> futures::future::BoxFuture<'static, ()> {
    Box::pin(async move {
        while wire.request().await {
            wire.answer("200 OK", b"answer").await;
        }
    })
}

/// Two requests of one client go over one connection, each with its path and query. Another client has its own
/// connection.
#[tokio::test]
async fn a_connection_is_kept() {
    let server = Server::start(answers).await;
    let client = server.client();
    for path in ["/one?a=b", "/two"] {
        let answer = server.get(&client, path).await.expect("an answer");
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"answer"[..]));
    }
    server.get(&server.client(), "/").await.expect("an answer");
    let line = |connection, path: &str| (connection, format!("GET {path} HTTP/1.1"));
    assert_eq!(server.asked(), [line(0, "/one?a=b"), line(0, "/two"), line(1, "/")]);
}

/// A server closes each connection after its first answer. The next request notices that and is made on a new
/// connection.
#[tokio::test]
async fn a_closed_connection_is_replaced() {
    let server = Server::start(|_, mut wire| {
        Box::pin(async move {
            wire.request().await;
            wire.answer("200 OK", b"answer").await;
        })
    })
    .await;
    let client = server.client();
    for _ in 0..3 {
        let answer = server.get(&client, "/").await.expect("an answer");
        assert_eq!(answer.body(), "answer");
    }
    let connections: Vec<_> = server.asked().into_iter().map(|(number, _)| number).collect();
    assert_eq!(connections, [0, 1, 2]);
}

/// A server reads the second request on its first connection and closes the connection. A request without effects is
/// made again; a request with effects was made on a new connection to begin with.
#[tokio::test]
async fn only_requests_without_effects_are_made_again() {
    for (method, connections) in [(Method::GET, [0, 0, 1]), (Method::POST, [0, 1, 1])] {
        let server = Server::start(|number, mut wire| {
            Box::pin(async move {
                wire.request().await;
                wire.answer("200 OK", b"answer").await;
                if wire.request().await && number > 0 {
                    wire.answer("200 OK", b"answer").await;
                }
            })
        })
        .await;
        let client = server.client();
        server.get(&client, "/").await.expect("an answer");
        let again = server.request(method.clone(), "/");
        client.send(again, LIMITS).await.expect("an answer");
        if method == Method::POST {
            server.get(&client, "/").await.expect("an answer");
        }
        let asked: Vec<_> = server.asked().into_iter().map(|(number, _)| number).collect();
        assert_eq!(asked, connections, "{method}");
    }
}

/// A body above the limit is an error. A refusal with a large body is an answer, with the beginning of that body.
#[tokio::test]
async fn bodies_are_bounded() {
    let large = Server::start(|_, mut wire| {
        Box::pin(async move {
            wire.request().await;
            wire.answer("200 OK", &[b'a'; 1001]).await;
        })
    })
    .await;
    let error = large.get(&large.client(), "/").await.expect_err("too large");
    assert!(matches!(error, HttpsError::TooLarge(1000)), "{error}");

    let refusing = Server::start(|_, mut wire| {
        Box::pin(async move {
            wire.request().await;
            wire.answer("403 Forbidden", &vec![b'a'; 1 << 20]).await;
        })
    })
    .await;
    let answer = refusing.get(&refusing.client(), "/").await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.body().len()), (403, 64 * 1024));
}

/// A call to a server that never answers ends at the deadline.
#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let server = Server::start(|_, mut wire| {
        Box::pin(async move {
            wire.request().await;
            std::future::pending::<()>().await;
        })
    })
    .await;
    let limits = AnswerLimits {
        deadline: Duration::from_millis(50),
        ..LIMITS
    };
    let request = server.request(Method::GET, "/");
    let error = server.client().send(request, limits).await.expect_err("late");
    assert_eq!(error.to_string(), "no answer within 0.05 s");
}

/// An open answer is passed on as it arrives: its beginning can be read before its end is sent.
#[tokio::test]
async fn an_open_answer_is_read_as_it_arrives() {
    let server = Server::start(|_, mut wire| {
        Box::pin(async move {
            wire.request().await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nbeg";
            wire.stream.write_all(head).await.expect("written");
            wire.stream.flush().await.expect("flushed");
            // The end is sent only once the client has seen the beginning.
            wire.asked.lock().push((wire.number, "waits".to_owned()));
            while wire.asked.lock().len() < 3 {
                tokio::task::yield_now().await;
            }
            wire.stream.write_all(b"end").await.expect("written");
            wire.stream.flush().await.expect("flushed");
        })
    })
    .await;
    let client = server.client();
    let answer = client.open(server.request(Method::GET, "/")).await.expect("an answer");
    let mut body = answer.into_body();
    let mut piece = async || {
        body.frame()
            .await
            .map(|frame| frame.expect("data").into_data().expect("data"))
    };
    assert_eq!(piece().await.as_deref(), Some(&b"beg"[..]));
    server.asked.lock().push((9, "seen".to_owned()));
    assert_eq!(piece().await.as_deref(), Some(&b"end"[..]));
    assert_eq!(piece().await, None);
}

/// A server is sent a request only if its certificate carries the name that the client expects. A URL without TLS is
/// refused.
#[tokio::test]
async fn only_a_server_with_the_expected_name_gets_requests() {
    let server = Server::start(answers).await;
    for (name, fits) in [("server", true), ("other", false)] {
        let client = HttpsClient::of(name, &server.tls()).expect("a name");
        let answer = server.get(&client, "/").await;
        assert_eq!(answer.is_ok(), fits, "{name}");
        assert!(fits || matches!(answer, Err(HttpsError::Connect(_))), "{name}");
    }
    assert_eq!(server.asked().len(), 1);
    let plain = Request::get("http://127.0.0.1:1/")
        .body(Bytes::new())
        .expect("a request");
    let error = server.client().send(plain, LIMITS).await.expect_err("refused");
    assert!(matches!(error, HttpsError::Address(_)), "{error}");
}
