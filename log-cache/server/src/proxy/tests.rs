//! REST for clients with a token, called without a network.

use axum::body::Body;
use futures::FutureExt as _;
use http::{Method, Request};
use tokio::time::Instant;
use tower::ServiceExt as _;
use weir_auth::revocation::Revoked;
use weir_auth::testing::TestIssuer;
use weir_auth::{Gate, StaticToken};
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_log_cache_store::{Limits, Store};
use weir_service::{Context, Trigger};

use super::*;
use crate::answers::{Answers, PER_CALLER};
use crate::reading;

mod parameters;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Setup {
    router: Router,
    gateway: Gateway,
    reader: Arc<reading::Reader>,
    answers: Arc<Answers>,
    authorizer: Arc<dyn Authorizer>,
    issuer: Arc<TestIssuer>,
    _trigger: Trigger,
}

impl Setup {
    fn new() -> Self {
        let store = Store::new(Limits::default());
        let mut builder = BatchBuilder::new();
        for (time, source_id) in [(1, "app-1"), (2, "app-1"), (3, "app-2"), (4, "a/b")] {
            builder.push_with(|envelope| {
                let mut writer = Writer::new(envelope);
                writer.timestamp(time).source_id(source_id);
                writer.log(format!("of {source_id}").as_bytes(), Stream::Out);
            });
        }
        store.ingest(&builder.finish(), |_| {});
        let (trigger, context) = Context::new("log-cache");
        let issuer = TestIssuer::new();
        let verifier = issuer.verifier(&context.shutdown, &context.tasks);
        let local = StaticToken::new(TOKEN).expect("a token");
        let reader = reading::Reader::new(store);
        let answers: Arc<Answers> = Arc::default();
        let proxy = Proxy {
            gateway: Gateway {
                reader: Arc::clone(&reader),
                answers: Arc::clone(&answers),
                started: Instant::now(),
            },
            authorizer: Arc::new(Gate::new(Some(local), Some(verifier))),
        };
        Self {
            gateway: proxy.gateway.clone(),
            authorizer: Arc::clone(&proxy.authorizer),
            router: proxy.router(),
            reader,
            answers,
            issuer,
            _trigger: trigger,
        }
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        let mut request = Request::builder().method(Method::GET).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let answer = self.router.clone().oneshot(request).await.expect("infallible");
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let kind = kind
            .map(|kind| kind.to_str().expect("text").to_owned())
            .unwrap_or_default();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        (status, kind, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// Returns the caller name of a token, by which turns are shared out.
    async fn caller(&self, token: &str) -> String {
        let authorization = [(
            header::AUTHORIZATION,
            format!("bearer {token}").parse().expect("a value"),
        )];
        let caller = caller(&*self.authorizer, &authorization.into_iter().collect()).await;
        caller.expect("a good token").id().to_owned()
    }

    async fn with(&self, token: &str, path: &str) -> (u16, String, String) {
        self.ask(path, &[("authorization", &format!("bearer {token}"))]).await
    }
}

/// With each token, its own sources can be read, by `read` and `meta`. Others are answered with 404 and no body.
#[tokio::test]
async fn tenants_read_their_own_sources() {
    let setup = Setup::new();
    let dev = setup
        .issuer
        .token("dev", &["logs.read.app-1", "logs.read.a/b", "logs.read.absent"]);
    let nobody = setup.issuer.token("nobody", &["cloud_controller.read"]);
    let firehose = setup.issuer.token("admin", &["doppler.firehose"]);
    let reader = setup.issuer.token("reader", &["logs.admin"]);
    let hidden = (404, String::new(), String::new());
    for (token, source, seen) in [
        (dev.as_str(), "app-1", true),
        (&dev, "a%2Fb", true),
        (&dev, "app-2", false),
        (&dev, "app-3", false),
        (&dev, "APP-1", false),
        (&dev, "app-1%20", false),
        (&nobody, "app-1", false),
        (&firehose, "app-2", true),
        (&reader, "app-2", true),
        (TOKEN, "app-2", true),
        ("a.b.c", "app-1", false),
        ("", "app-1", false),
    ] {
        let answer = setup
            .with(token, &format!("/api/v1/read/{source}?source_id=app-2&limit=10"))
            .await;
        if seen {
            assert_eq!((answer.0, answer.1.as_str()), (200, "application/json"), "{source}");
            assert!(
                answer
                    .2
                    .contains(&format!("\"source_id\":\"{}\"", source.replace("%2F", "/"))),
                "{}",
                answer.2
            );
        } else {
            assert_eq!(answer, hidden, "{source}");
        }
    }
    assert_eq!(
        setup.with(&dev, "/api/v1/read/absent").await.2,
        "{\"envelopes\":{\"batch\":[]}}\n"
    );
    assert_eq!(setup.ask("/api/v1/read/app-1", &[]).await, hidden);

    let text = "text/plain; charset=utf-8";
    let of_dev = "{\"meta\":{\"a/b\":{\"count\":\"1\",\"oldestTimestamp\":\"4\",\"newestTimestamp\":\"4\"},\
                  \"app-1\":{\"count\":\"2\",\"oldestTimestamp\":\"1\",\"newestTimestamp\":\"2\"}}}\n";
    assert_eq!(
        setup.with(&dev, "/api/v1/meta").await,
        (200, text.to_owned(), of_dev.to_owned())
    );
    assert_eq!(
        setup.with(&nobody, "/api/v1/meta?local_only=true").await.2,
        "{\"meta\":{}}\n"
    );
    assert_eq!(setup.with("a.b.c", "/api/v1/meta").await, hidden);
    for admin in [TOKEN, &firehose, &reader] {
        let all = setup.with(admin, "/api/v1/meta").await.2;
        assert!(
            ["app-1", "app-2", "a/b"].iter().all(|source| all.contains(source)),
            "{all}"
        );
    }
}

/// The other paths: `info` without a token, PromQL, the gateway's errors, and paths that do not exist.
#[tokio::test]
async fn other_paths_are_answered_as_by_the_gateway() {
    let setup = Setup::new();
    let (status, kind, body) = setup.ask("/api/v1/info", &[]).await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"));
    assert!(body.starts_with("{\"version\":\"3."), "{body}");
    let dev = setup.issuer.token("dev", &["logs.read.app-1"]);
    for path in [
        "/api/v1/query?query=up",
        "/api/v1/query_range?query=up&start=1&end=2&step=1",
    ] {
        assert_eq!(setup.ask(path, &[]).await.0, 404);
        let (status, kind, body) = setup.with(&dev, path).await;
        assert_eq!((status, kind.as_str()), (501, "application/json"));
        assert!(
            body.starts_with("{\"error\":\"this log cache does not speak PromQL"),
            "{body}"
        );
    }
    let (status, _, body) = setup.with(&dev, "/api/v1/read/app-1?limit=1001").await;
    assert_eq!(
        (status, body.as_str()),
        (
            400,
            "{\"code\":2,\"message\":\"Limit (1001) must be 1000 or less\",\"details\":[]}\n"
        )
    );
    // A caller that may not read a source does not learn that its request is malformed either.
    assert_eq!(setup.with(&dev, "/api/v1/read/app-2?limit=1001").await.0, 404);
    for path in [
        "/",
        "/api/v1/read",
        "/api/v1/read/",
        "/api/v1/read/a/b",
        "/api/v1/read/../meta",
        "/v1/sql",
    ] {
        assert_eq!(setup.with(TOKEN, path).await.0, 404, "{path}");
    }
}

/// When nothing can be read, `meta` is answered with 502 and no body, and `read` with the gateway's error. A caller
/// without rights does not learn of it.
#[tokio::test]
async fn failed_reads_are_answered_as_by_the_original() {
    let setup = Setup::new();
    setup.reader.close();
    assert_eq!(
        setup.with(TOKEN, "/api/v1/meta").await,
        (502, String::new(), String::new())
    );
    assert_eq!(setup.with("a.b.c", "/api/v1/meta").await.0, 404);
    let (status, _, body) = setup.with(TOKEN, "/api/v1/read/app-1").await;
    assert_eq!(status, 503);
    assert!(body.starts_with("{\"code\":14,"), "{body}");
}

/// A caller with too many unread answers gets no list of sources until it has read them. Others get theirs.
#[tokio::test]
async fn the_list_of_sources_counts_as_unread() {
    let setup = Setup::new();
    let dev = setup.issuer.token("dev", &["logs.read.app-1"]);
    let unread = setup.answers.hold("operator", vec![0; PER_CALLER]).expect("its share");
    let (status, _, body) = setup.with(TOKEN, "/api/v1/meta").await;
    assert_eq!(status, 429);
    assert!(body.contains("not read yet"), "{body}");
    assert_eq!(setup.with(&dev, "/api/v1/meta").await.0, 200);
    drop(unread);
    assert_eq!(setup.with(TOKEN, "/api/v1/meta").await.0, 200);
}

/// While one tenant has hundreds of requests for its list of sources, the page and list of another come at once, and
/// every waiting request is answered.
#[tokio::test]
async fn many_requests_of_one_tenant_do_not_delay_another() {
    let setup = Setup::new();
    let greedy = setup.issuer.token("greedy", &["logs.read.app-1"]);
    let other = setup.issuer.token("other", &["logs.read.app-2"]);
    let id = setup.caller(&greedy).await;
    let turns = setup.reader.turns();
    let mut taken = Vec::new();
    while let Some(turn) = turns.take(&id).now_or_never() {
        taken.push(turn.expect("a turn"));
    }
    assert!(taken.len() > 1, "a caller alone gets more than one turn");
    let mut crowd: Vec<_> = (0..250)
        .map(|_| Box::pin(setup.with(&greedy, "/api/v1/meta")))
        .collect();
    for asked in &mut crowd {
        assert!(asked.now_or_never().is_none(), "it waits");
    }
    assert_eq!(turns.taken(), (taken.len(), 250));
    for path in ["/api/v1/read/app-2", "/api/v1/meta"] {
        let (status, _, body) = setup.with(&other, path).await;
        assert_eq!(status, 200);
        assert!(body.contains("app-2") && !body.contains("app-1"), "{body}");
    }
    assert_eq!(turns.taken(), (taken.len(), 250), "nobody of the crowd came first");
    drop(taken);
    for answer in futures::future::join_all(crowd).await {
        assert_eq!(answer.0, 200);
    }
    assert_eq!(turns.taken(), (0, 0));
}

/// Only a single header `Authorization` identifies a caller.
#[tokio::test]
async fn other_headers_identify_no_caller() {
    let setup = Setup::new();
    let (dev, admin) = (
        format!("bearer {}", setup.issuer.token("dev", &["logs.read.app-1"])),
        format!("bearer {}", setup.issuer.token("admin", &["doppler.firehose"])),
    );
    let cookie = format!("authorization={}", admin.replace(' ', "%20"));
    for headers in [
        vec![("authorization", dev.as_str()), ("authorization", &admin)],
        vec![("authorization", &admin), ("authorization", &admin)],
        vec![("authorization", &dev), ("x-forwarded-authorization", &admin)],
        vec![("authorization", &dev), ("proxy-authorization", &admin)],
        vec![
            ("authorization", &dev),
            ("x-forwarded-user", "admin"),
            ("x-user-id", "admin"),
            ("x-weir-caller", "operator"),
        ],
        vec![
            ("authorization", &dev),
            ("x-forwarded-client-cert", "CN=log-cache"),
            ("x-original-url", "/api/v1/info"),
        ],
        vec![("authorization", &dev), ("connection", "authorization")],
        vec![("cookie", &cookie)],
        vec![("x-authorization", &admin)],
    ] {
        assert_eq!(setup.ask("/api/v1/read/app-2", &headers).await.0, 404, "{headers:?}");
    }
}

/// A revoked token is refused. While UAA is away and its keys are unknown, the answer says that tokens cannot be
/// checked.
#[tokio::test]
async fn revoked_tokens_are_refused() {
    let setup = Setup::new();
    let token = setup.issuer.token("dev", &["logs.read.app-1"]);
    assert_eq!(setup.with(&token, "/api/v1/read/app-1").await.0, 200);
    setup.issuer.revoke(Revoked::Client {
        client_id: "cf".to_owned(),
    });
    for _ in 0..2_000 {
        if setup.with(&token, "/api/v1/read/app-1").await.0 == 404 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(setup.with(&token, "/api/v1/meta").await.0, 404);

    let away = Setup::new();
    away.issuer.set_away(true);
    tokio::time::pause();
    let token = away.issuer.token("dev", &["logs.read.app-1"]);
    assert_eq!(away.with(&token, "/api/v1/read/app-1").await.0, 503);
    assert_eq!(away.with(&token, "/api/v1/meta").await.0, 502);
    assert_eq!(away.with(TOKEN, "/api/v1/meta").await.0, 200);
}

/// UAA is asked for the rights behind a token. Known rights stay valid for the token's lifetime while UAA is away, and
/// for an unknown caller the answer says that rights cannot be checked.
#[tokio::test]
async fn rights_are_read_from_uaa() {
    let setup = Setup::new();
    setup.issuer.set_rights("dev", &["app-1"]);
    let dev = setup.issuer.token("dev", &["logs.read"]);
    assert_eq!(setup.with(&dev, "/api/v1/read/app-1").await.0, 200);
    assert_eq!(setup.with(&dev, "/api/v1/read/app-2").await.0, 404);
    setup.issuer.set_away(true);
    assert_eq!(setup.with(&dev, "/api/v1/read/app-1").await.0, 200);
    let other = setup.issuer.token("other", &["logs.read"]);
    assert_eq!(setup.with(&other, "/api/v1/read/app-1").await.0, 503);
    assert_eq!(setup.with(&other, "/api/v1/meta").await.0, 502);
    let named = setup.issuer.token("other", &["logs.read.app-2"]);
    assert_eq!(
        setup.with(&named, "/api/v1/read/app-2").await.0,
        200,
        "it says so itself"
    );
    setup.issuer.set_away(false);
    setup.issuer.set_rights("other", &["app-2"]);
    assert_eq!(setup.with(&other, "/api/v1/read/app-2").await.0, 200);
}
