//! The log cache over the network: envelopes that are sent by gRPC are read by gRPC, REST and SQL, and clients without
//! a certificate or token are refused.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use weir_auth::testing::TestIssuer;
use weir_auth::{Authorizer, Gate, StaticToken};
use weir_config::ListenAddr;
use weir_flow::LogContext;
use weir_log_cache_server::{Addresses, Config, RawConfig, RawSql, Server};
use weir_proto::logcache_v1::egress_client::EgressClient;
use weir_proto::logcache_v1::ingress_client::IngressClient;
use weir_proto::logcache_v1::prom_ql_querier_client::PromQlQuerierClient;
use weir_proto::logcache_v1::{MetaRequest, ReadRequest, SendRequest, prom_ql};
use weir_proto::loggregator_v2::{self as v2, envelope::Message};
use weir_service::Trigger;
use weir_testkit::Https;
use weir_tls::{ALPN_H2, Authority, ClientTls, server_name};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct LogCache {
    addresses: Addresses,
    mutual: ClientTls,
    trusting: ClientTls,
    trigger: Trigger,
    running: tokio::task::JoinHandle<Result<(), weir_log_cache_server::Error>>,
    _dir: tempfile::TempDir,
}

impl LogCache {
    async fn start() -> Self {
        Self::start_with(|_| None).await
    }

    /// Starts a log cache with the authorizer that `authorizer` makes, if it makes one.
    async fn start_with(authorizer: impl FnOnce(&LogContext) -> Option<Arc<dyn Authorizer>>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open_or_create(dir.path()).expect("an authority");
        let identity = authority
            .issue("log-cache", &["log-cache", "log_cache"])
            .expect("a certificate");
        let token_file = dir.path().join("token");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&token_file)
            .expect("made");
        file.write_all(TOKEN.as_bytes()).expect("written");
        let any = ListenAddr::loopback(0);
        let raw = RawConfig {
            listen: any,
            gateway_listen: any,
            proxy_listen: Some(any),
            identity: identity.clone(),
            dopplers: Vec::new(),
            sql: RawSql {
                listen: any,
                token_file,
                ..RawSql::default()
            },
            ..RawConfig::default()
        };
        let (trigger, context) = LogContext::in_memory("log-cache");
        let config = Config::try_from(raw).expect("valid");
        let server = match authorizer(&context) {
            Some(authorizer) => Server::with_authorizer(config, context, authorizer).await,
            None => Server::bind(config, context).await,
        };
        let server = server.expect("bound");
        let addresses = server.addresses();
        let running = tokio::spawn(server.run());
        Self {
            addresses,
            mutual: ClientTls::mutual(&identity).expect("usable"),
            trusting: ClientTls::trusting(&authority.ca_file()).expect("usable"),
            trigger,
            running,
            _dir: dir,
        }
    }

    async fn grpc(&self) -> tonic::transport::Channel {
        let address = self.addresses.grpc.to_string();
        weir_testkit::connect(&address, "log-cache", &self.mutual)
            .await
            .expect("connected")
    }

    async fn send(&self, envelopes: Vec<v2::Envelope>) {
        let request = SendRequest {
            envelopes: Some(v2::EnvelopeBatch { batch: envelopes }),
            local_only: true,
        };
        IngressClient::new(self.grpc().await)
            .send(request)
            .await
            .expect("taken");
    }

    async fn stop(self) {
        self.trigger.fire();
        let stopped = tokio::time::timeout(Duration::from_secs(20), self.running).await;
        stopped.expect("in time").expect("no panic").expect("no error");
    }
}

fn envelope(source_id: &str, timestamp: i64, message: Message) -> v2::Envelope {
    v2::Envelope {
        timestamp,
        source_id: source_id.to_owned(),
        instance_id: "0".to_owned(),
        tags: BTreeMap::from([("source_type".to_owned(), "APP".to_owned())]),
        message: Some(message),
        ..v2::Envelope::default()
    }
}

fn log(payload: &'static [u8]) -> Message {
    Message::Log(v2::Log {
        payload: payload.into(),
        r#type: 0,
    })
}

/// The envelopes are read by gRPC, by REST with a certificate and with a token, and by SQL.
#[tokio::test(flavor = "multi_thread")]
async fn envelopes_are_read_through_every_interface() {
    let cache = LogCache::start().await;
    let metrics = BTreeMap::from([(
        "cpu".to_owned(),
        v2::GaugeValue {
            unit: "percentage".to_owned(),
            value: 0.5,
        },
    )]);
    let sent = vec![
        envelope("app/1", 1, log(b"first")),
        envelope("app/1", 2, Message::Gauge(v2::Gauge { metrics })),
        envelope("app/1", 3, log(b"not UTF-8: \xff")),
    ];
    cache.send(sent.clone()).await;

    let mut egress = EgressClient::new(cache.grpc().await);
    let request = ReadRequest {
        source_id: "app/1".to_owned(),
        ..ReadRequest::default()
    };
    let read = egress.read(request).await.expect("a page").into_inner();
    assert_eq!(read.envelopes.expect("envelopes").batch, sent);
    let meta = egress
        .meta(MetaRequest::default())
        .await
        .expect("an answer")
        .into_inner()
        .meta;
    let info = &meta["app/1"];
    assert_eq!(
        (info.count, info.expired, info.oldest_timestamp, info.newest_timestamp),
        (3, 0, 1, 3)
    );

    let rest = Https::new(cache.mutual.clone());
    let url = format!(
        "https://{}/api/v1/read/app%2F1?envelope_types=LOG&limit=1",
        cache.addresses.gateway
    );
    let page: Value = serde_json::from_str(&rest.get(&url).await.expect("an answer").text()).expect("JSON");
    assert_eq!(page["envelopes"]["batch"][0]["log"]["payload"], "Zmlyc3Q=");

    let sql = Https::new(cache.trusting.clone()).with_token(&format!("bearer {TOKEN}"));
    let proxy = cache.addresses.proxy.expect("configured");
    let url = format!("https://{proxy}/api/v1/read/app%2F1?envelope_types=LOG&limit=1");
    let same: Value = serde_json::from_str(&sql.get(&url).await.expect("an answer").text()).expect("JSON");
    assert_eq!(same, page);
    let url = format!("https://{proxy}/api/v1/meta");
    assert_eq!(
        sql.get(&url).await.expect("an answer").text(),
        "{\"meta\":{\"app/1\":{\"count\":\"3\",\"oldestTimestamp\":\"1\",\"newestTimestamp\":\"3\"}}}\n"
    );

    let url = format!("https://{}/v1/sql", cache.addresses.sql);
    let question =
        "select seq - min(seq) over () as n, body, body_bytes from logs where source_id = 'app/1' order by seq";
    let answer = sql
        .post(&url, "text/plain", "application/json", question)
        .await
        .expect("an answer");
    let expected = "[{\"n\":0,\"body\":\"first\",\"body_bytes\":null},\
                    {\"n\":2,\"body\":\"not UTF-8: \u{fffd}\",\"body_bytes\":\"6e6f74205554462d383a20ff\"}]\n";
    assert_eq!(answer.text(), expected);
    cache.stop().await;
}

/// A page that is too large is refused with the code that clients expect, and PromQL with UNIMPLEMENTED.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_expected_codes() {
    let cache = LogCache::start().await;
    let line: &'static [u8] = Box::leak(vec![b'x'; 60_000].into_boxed_slice());
    for start in (0..400i64).step_by(50) {
        cache
            .send(
                (start..start + 50)
                    .map(|time| envelope("app", time, log(line)))
                    .collect(),
            )
            .await;
    }
    let rest = Https::new(cache.mutual.clone());
    let read = |limit: u32| {
        format!(
            "https://{}/api/v1/read/app?limit={limit}&descending=true",
            cache.addresses.gateway
        )
    };
    let refused = rest.get(&read(1000)).await.expect("an answer");
    assert_eq!(refused.status.as_u16(), 429);
    assert!(
        refused
            .text()
            .starts_with("{\"code\":8,\"message\":\"the reply would exceed"),
        "{}",
        refused.text()
    );
    assert_eq!(rest.get(&read(200)).await.expect("an answer").status.as_u16(), 200);

    let mut promql = PromQlQuerierClient::new(cache.grpc().await);
    let request = prom_ql::InstantQueryRequest {
        query: "up".to_owned(),
        time: String::new(),
    };
    let status = promql.instant_query(request).await.expect_err("refused");
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    assert!(status.message().contains("SQL"));
    cache.stop().await;
}

/// Three thousand logs and counters have one timestamp. Read page by page by REST and gRPC, in both directions, as
/// go-log-cache and the cloud controller do, every page keeps its limit and each envelope comes once.
#[tokio::test(flavor = "multi_thread")]
async fn walks_through_one_nanosecond() {
    let cache = LogCache::start().await;
    let sent = 3_000u64;
    let envelopes: Vec<v2::Envelope> = (0..sent)
        .map(|number| {
            let message = if number % 3 == 0 {
                Message::Counter(v2::Counter {
                    name: "c".to_owned(),
                    delta: number,
                    total: number,
                })
            } else {
                Message::Log(v2::Log {
                    payload: number.to_string().into(),
                    r#type: 0,
                })
            };
            envelope("app", 1_700_000_000_000_000_000, message)
        })
        .collect();
    cache.send(envelopes).await;

    let rest = Https::new(cache.mutual.clone());
    let (mut start, mut found) = (0, BTreeSet::new());
    loop {
        let url = format!(
            "https://{}/api/v1/read/app?limit=500&envelope_types=LOG&start_time={start}",
            cache.addresses.gateway
        );
        let page: Value = serde_json::from_str(&rest.get(&url).await.expect("an answer").text()).expect("JSON");
        let page = page["envelopes"]["batch"].as_array().expect("a list").clone();
        assert!(page.len() <= 500);
        let Some(last) = page.last() else { break };
        start = last["timestamp"]
            .as_str()
            .expect("text")
            .parse::<i64>()
            .expect("a number")
            + 1;
        for envelope in page {
            assert!(
                found.insert(envelope["log"]["payload"].to_string()),
                "twice: {envelope}"
            );
        }
    }
    assert_eq!(found.len() as u64, sent / 3 * 2);

    let mut egress = EgressClient::new(cache.grpc().await);
    let (mut end_time, mut found) = (0, BTreeSet::new());
    loop {
        let request = ReadRequest {
            source_id: "app".to_owned(),
            end_time,
            limit: 100,
            descending: true,
            ..ReadRequest::default()
        };
        let page = egress
            .read(request)
            .await
            .expect("a page")
            .into_inner()
            .envelopes
            .expect("envelopes")
            .batch;
        assert!(page.len() <= 100);
        let Some(last) = page.last() else { break };
        end_time = last.timestamp - 1;
        for envelope in page {
            assert!(found.insert(format!("{:?}", envelope.message)), "twice: {envelope:?}");
        }
    }
    assert_eq!(found.len() as u64, sent);
    cache.stop().await;
}

/// gRPC and the gateway refuse clients without a certificate. SQL and public REST refuse clients without a token, even
/// with a certificate.
#[tokio::test(flavor = "multi_thread")]
async fn clients_without_credentials_are_refused() {
    let cache = LogCache::start().await;
    cache.send(vec![envelope("app", 1, log(b"secret"))]).await;
    let stranger = Https::new(cache.trusting.clone());
    let url = format!("https://{}/api/v1/meta", cache.addresses.gateway);
    assert!(stranger.get(&url).await.is_err(), "the handshake fails");
    let address = cache.addresses.grpc.to_string();
    let channel = weir_testkit::connect(&address, "log-cache", &cache.trusting).await;
    if let Ok(channel) = channel {
        EgressClient::new(channel)
            .meta(MetaRequest::default())
            .await
            .expect_err("no certificate");
    }
    let url = format!("https://{}/v1/sql", cache.addresses.sql);
    for client in [
        stranger.clone(),
        stranger.with_token("bearer wrong"),
        Https::new(cache.mutual.clone()),
    ] {
        let answer = client
            .post(&url, "text/plain", "*/*", "select * from logs")
            .await
            .expect("an answer");
        assert_eq!(answer.status.as_u16(), 401);
        assert!(!answer.text().contains("secret"));
        let proxy = cache.addresses.proxy.expect("configured");
        for path in ["read/app", "meta", "query?query=up"] {
            let answer = client
                .get(&format!("https://{proxy}/api/v1/{path}"))
                .await
                .expect("an answer");
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (404, ""), "{path}");
        }
    }
    cache.stop().await;
}

/// An HTTP/2 connection to a public port.
struct Http2 {
    sender: hyper::client::conn::http2::SendRequest<Full<bytes::Bytes>>,
    url: String,
}

impl Http2 {
    async fn connect(cache: &LogCache, address: std::net::SocketAddr) -> Self {
        let connector = cache.trusting.with_alpn(&[ALPN_H2]).connector();
        let stream = TcpStream::connect(address).await.expect("connected");
        let name = server_name("localhost").expect("a name");
        let stream = connector.connect(name, stream).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ALPN_H2));
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        Self {
            sender,
            url: format!("https://{address}"),
        }
    }

    /// Sends a request with several fields `authorization`; returns status and body of the answer.
    async fn ask(&mut self, path: &str, body: &'static str, fields: &[&str]) -> (u16, String) {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "text/plain");
        for field in fields {
            request = request.header("authorization", *field);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        assert_eq!(request.headers().get_all("authorization").iter().count(), fields.len());
        let answer = self.sender.send_request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

/// With twenty thousand sources, the operator asks for the list of all of them on 250 connections, again and again. A
/// tenant's page and list come before that list was sent another hundred times.
#[tokio::test(flavor = "multi_thread")]
async fn many_requests_of_one_caller_do_not_delay_others() {
    let issuer = TestIssuer::new();
    let cache = LogCache::start_with(|context| {
        let verifier = issuer.verifier(&context.shutdown, &context.tasks);
        let local = StaticToken::new(TOKEN).expect("a token");
        Some(Arc::new(Gate::new(Some(local), Some(verifier))))
    })
    .await;
    let sources: Vec<String> = (0..20_000).map(|number| format!("app-{number}")).collect();
    for sources in sources.chunks(1000) {
        cache
            .send(sources.iter().map(|source| envelope(source, 1, log(b"line"))).collect())
            .await;
    }
    let proxy = cache.addresses.proxy.expect("configured");
    let mut tenant = Http2::connect(&cache, proxy).await;
    let token = format!("bearer {}", issuer.token("tenant", &["logs.read.app-7"]));
    assert_eq!(tenant.ask("/api/v1/meta", "", &[&token]).await.0, 200);
    let lists = Arc::new(AtomicUsize::new(0));
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..250 {
        let mut connection = Http2::connect(&cache, proxy).await;
        let lists = Arc::clone(&lists);
        crowd.spawn(async move {
            let operator = format!("bearer {TOKEN}");
            loop {
                let (status, _) = connection.ask("/api/v1/meta", "", &[&operator]).await;
                // A caller with too many unread answers gets 429.
                assert!(status == 200 || status == 429, "{status}");
                lists.fetch_add(usize::from(status == 200), Ordering::Relaxed);
            }
        });
    }
    weir_testkit::eventually("the crowd is there", async || {
        let done = lists.load(Ordering::Relaxed);
        (done > 20).then_some(()).ok_or_else(|| format!("{done} lists"))
    })
    .await
    .expect("lists");
    for path in ["/api/v1/read/app-7", "/api/v1/meta", "/api/v1/read/app-7?limit=1"] {
        let before = lists.load(Ordering::Relaxed);
        let (status, body) = tenant.ask(path, "", &[&token]).await;
        assert_eq!(status, 200);
        assert!(body.contains("app-7") && !body.contains("app-70"), "{body}");
        let meanwhile = lists.load(Ordering::Relaxed) - before;
        assert!(meanwhile < 100, "{meanwhile} lists before {path}");
    }
    crowd.shutdown().await;
    cache.stop().await;
}

/// Two fields `authorization` in one HTTP/2 request are refused on both public ports, although each alone is accepted.
/// So is one field in which a proxy has joined the two.
#[tokio::test(flavor = "multi_thread")]
async fn two_authorizations_are_refused() {
    let cache = LogCache::start().await;
    cache.send(vec![envelope("app", 1, log(b"secret"))]).await;
    let good = format!("bearer {TOKEN}");
    let (sql, proxy) = (cache.addresses.sql, cache.addresses.proxy.expect("configured"));
    for (address, path, body, refused) in [
        (sql, "/v1/sql", "select body from logs", 401),
        (proxy, "/api/v1/read/app", "", 404),
        (proxy, "/api/v1/meta", "", 404),
    ] {
        let mut client = Http2::connect(&cache, address).await;
        assert_eq!(client.ask(path, body, &[&good]).await.0, 200, "{path}");
        let joined = [
            format!("{good}, {good}"),
            format!("{good},bearer x"),
            format!("bearer x, {good}"),
        ];
        for fields in [
            vec![good.as_str(), &good],
            vec!["bearer x", &good],
            vec![&good, "bearer x"],
            vec!["", &good],
            vec![&good, ""],
            vec![&joined[0]],
            vec![&joined[1]],
            vec![&joined[2]],
        ] {
            let (status, text) = client.ask(path, body, &fields).await;
            assert_eq!(status, refused, "{path}: {fields:?}");
            assert!(!text.contains("secret") && !text.contains("app"), "{path}: {text}");
        }
        assert_eq!(client.ask(path, body, &[&good]).await.0, 200, "the connection lives on");
    }
    cache.stop().await;
}
