//! Requests that are never finished: the memory that they hold is limited for all senders, and others are served.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Request, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use weir_faults::{assert_no_panics, assert_serves};
use weir_testkit::{Endpoints, Https, Mode, PATIENCE, Stack, connect_from, eventually, raise_file_limit, served};
use weir_tls::{ALPN_H2, ClientTls, server_name};

/// The limit of memory in bytes, for any input.
const MOST: u64 = 1 << 30;

/// The number of connections of the attacker.
const CONNECTIONS: usize = 10;
const STREAMS: usize = 100;

/// The part of each request that is sent, in bytes.
const SIZE: usize = 1 << 20;

/// The address of the attacker. The stack and all others use 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Returns a body that begins with `head`, has `size` bytes, and never ends.
fn endless(head: &[u8], size: usize) -> Body {
    const PIECE: usize = 16 << 10;
    let pieces = std::iter::repeat_n(Bytes::from(vec![b'a'; PIECE]), size / PIECE);
    let pieces = std::iter::once(Bytes::copy_from_slice(head)).chain(pieces);
    let pieces = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    StreamBody::new(futures::stream::iter(pieces).chain(futures::stream::pending())).boxed_unsync()
}

/// Unfinished requests, and the answers to those that have one.
struct Attack {
    answers: JoinSet<anyhow::Result<(u16, String)>>,
    _connections: JoinSet<()>,
}

impl Attack {
    /// Starts [`STREAMS`] requests on each of [`CONNECTIONS`] connections to the server at `url`.
    async fn begin(
        url: &str,
        name: &str,
        tls: &ClientTls,
        request: impl Fn() -> anyhow::Result<Request<Body>>,
    ) -> anyhow::Result<Self> {
        raise_file_limit(1024)?;
        let address = url.split_once("://").map_or(url, |(_, rest)| rest).parse()?;
        let connector = tls.with_alpn(&[ALPN_H2]).connector();
        let (mut answers, mut connections) = (JoinSet::new(), JoinSet::new());
        for _ in 0..CONNECTIONS {
            let stream = connect_from(ATTACKER, address).await?;
            let stream = connector.connect(server_name(name)?, stream).await?;
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .handshake::<_, Body>(TokioIo::new(stream))
                .await?;
            connections.spawn(async move { drop(connection.await) });
            for _ in 0..STREAMS {
                let (mut sender, request) = (sender.clone(), request()?);
                answers.spawn(async move {
                    sender.ready().await?;
                    let answer = sender.send_request(request).await?;
                    let status = answer.status().as_u16();
                    let grpc = answer
                        .headers()
                        .get("grpc-message")
                        .map(|text| text.to_str().unwrap_or_default());
                    let grpc = grpc.unwrap_or_default().to_owned();
                    let body = answer.into_body().collect().await?;
                    let trailer = body.trailers().and_then(|trailers| trailers.get("grpc-message"));
                    let trailer = trailer
                        .and_then(|text| text.to_str().ok())
                        .unwrap_or_default()
                        .to_owned();
                    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                    Ok((status, (text + &grpc + &trailer).replace("%20", " ")))
                });
            }
        }
        Ok(Self {
            answers,
            _connections: connections,
        })
    }

    /// Waits for an answer with this text, and returns its status.
    async fn refused(&mut self, text: &str) -> anyhow::Result<u16> {
        let mut others = Vec::new();
        let found = async {
            while let Some(answer) = self.answers.join_next().await {
                match answer? {
                    Ok((status, answer)) if answer.contains(text) => return Ok(status),
                    other => others.push(other),
                }
            }
            anyhow::bail!("no answer has the text")
        };
        let found: anyhow::Result<_> = match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => Err(anyhow::anyhow!("nothing more came")),
        };
        others.truncate(3);
        found.with_context(|| format!("{text}: not among {others:?}"))
    }
}

/// Checks the largest memory of the stack so far against the limit, and returns a line for the test's output.
fn bounded(stack: &Stack, what: &str) -> anyhow::Result<String> {
    let peak = stack.peak_bytes()?;
    anyhow::ensure!(peak < MOST, "{what}: {} MiB", peak >> 20);
    Ok(format!("{what}: {} MiB at most", peak >> 20))
}

fn post(url: &str, path: &str, kind: &'static str, body: Body) -> anyhow::Result<Request<Body>> {
    let mut request = Request::post(format!("https://{}{path}", url.trim_start_matches("https://"))).body(body)?;
    *request.version_mut() = Version::HTTP_2;
    request
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(request)
}

/// Logs in a user as the command line does.
async fn log_in(endpoints: &Endpoints) -> anyhow::Result<()> {
    let form = format!(
        "grant_type=password&client_id=cf&client_secret=&username={}&password={}",
        endpoints.admin_user, endpoints.admin_password
    );
    let url = format!("{}/oauth/token", endpoints.uaa);
    let kind = "application/x-www-form-urlencoded";
    let https = Https::new(endpoints.trusting()?);
    let answer = served("a login", PATIENCE, https.post(&url, kind, "*/*", form)).await?;
    anyhow::ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    Ok(())
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Setup: a thousand unfinished requests of one mebibyte each, on ten connections from one address: to a route of UAA
/// that takes forms, to one that needs a token, and to SQL with a token. Must hold: a body that is too large is refused
/// with the limit of its route. One that is small enough is refused with the limit of all requests together. A body
/// without a token is not read. The process stays below one gibibyte, and others log in and read meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_bodies_are_bounded() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let (uaa, sql, tls) = (&endpoints.uaa, &endpoints.sql_http, endpoints.trusting()?);
    let token: HeaderValue = stack.token()?.parse()?;

    let form = || post(uaa, "/oauth/token", FORM, endless(b"grant_type=", SIZE));
    let mut attack = Attack::begin(uaa, "localhost", &tls, form).await?;
    assert_eq!(attack.refused("larger than 65536 bytes").await?, 413);
    log_in(endpoints).await?;
    println!("{}", bounded(&stack, "forms that are too large")?);
    drop(attack);

    let form = || post(uaa, "/oauth/token", FORM, endless(b"grant_type=", 48 << 10));
    let mut attack = Attack::begin(uaa, "localhost", &tls, form).await?;
    assert_eq!(attack.refused("requests under way").await?, 429);
    log_in(endpoints).await?;
    println!("{}", bounded(&stack, "forms that are small enough")?);
    drop(attack);

    for path in ["/oauth/clients", "/Users", "/Groups", "/Groups/x/members"] {
        let nobody = || post(uaa, path, "application/json", endless(b"{", SIZE));
        let mut attack = Attack::begin(uaa, "localhost", &tls, nobody).await?;
        assert_eq!(attack.refused("unauthorized").await?, 401);
        log_in(endpoints).await?;
        println!("{}", bounded(&stack, path)?);
    }

    let query = || {
        let mut request = post(sql, "/v1/sql", "text/plain", endless(b"select '", SIZE - (64 << 10)))?;
        request.headers_mut().insert(http::header::AUTHORIZATION, token.clone());
        Ok(request)
    };
    let mut attack = Attack::begin(sql, "localhost", &tls, query).await?;
    assert_eq!(attack.refused("requests under way").await?, 429);
    assert_serves(&stack).await?;
    println!("{}", bounded(&stack, "SQL")?);
    drop(attack);
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a thousand requests with heads of 60 KiB and bodies that never arrive. Must hold: heads count towards the
/// limit as bodies do.
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_heads_are_bounded() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let long = HeaderValue::from_bytes(&[b'h'; 15 << 10])?;
    let request = || {
        let mut request = post(&endpoints.uaa, "/oauth/token", FORM, endless(b"grant_type=", 0))?;
        for name in ["x-a", "x-b", "x-c", "x-d"] {
            request.headers_mut().insert(name, long.clone());
        }
        Ok(request)
    };
    let mut attack = Attack::begin(&endpoints.uaa, "localhost", &endpoints.trusting()?, request).await?;
    assert_eq!(attack.refused("requests under way").await?, 429);
    log_in(endpoints).await?;
    println!("{}", bounded(&stack, "heads")?);
    drop(attack);
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a client with the stack's certificate starts a thousand gRPC messages of one mebibyte at each server, and
/// finishes none. Must hold: the memory for unfinished messages is limited, the client is told the limit, and others
/// are served.
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_are_bounded() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let tls = endpoints.mutual()?;
    let ingress = "/loggregator.v2.Ingress/Send";
    for (address, name, path) in [
        (&endpoints.agent, "metron", ingress),
        (&endpoints.doppler, "doppler", "/loggregator.v2.Ingress/BatchSender"),
        (
            &endpoints.rlp,
            "reverselogproxy",
            "/loggregator.v2.Egress/BatchedReceiver",
        ),
        (&endpoints.log_cache, "log-cache", "/logcache.v1.Ingress/Send"),
    ] {
        // The last bytes of this message of one mebibyte are never sent.
        let request = || {
            post(
                address,
                path,
                "application/grpc",
                endless(&[0, 0, 0x10, 0, 0], SIZE - (16 << 10)),
            )
        };
        let mut attack = Attack::begin(address, name, &tls, request).await?;
        attack.refused("requests under way").await.context(name)?;
        println!("{}", bounded(&stack, name)?);
        drop(attack);
        eventually("others are served", async || assert_serves(&stack).await).await?;
    }
    assert_no_panics(&stack);
    Ok(())
}
