//! SQL over HTTP, called without a network.

use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use http::Request;
use tower::ServiceExt as _;
use weir_auth::revocation::Revoked;
use weir_auth::testing::TestIssuer;
use weir_auth::{Scope, StaticToken, Verdict};
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_log_cache_store::Limits;
use weir_service::clock::Clock;

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn store() -> Store {
    let store = of_app_alone();
    log(&store, "other", 6, "hidden");
    store
}

/// Returns the store of [`store`] without the row of another source.
fn of_app_alone() -> Store {
    // With a clock that stands still in 1970, `seq` starts at one.
    let (_, clock) = Clock::manual(0);
    let store = Store::with_clock(Limits::default(), clock);
    (1..=5).for_each(|number| log(&store, "app", number, "hello"));
    store
}

fn log(store: &Store, source_id: &str, timestamp: i64, body: &str) {
    let mut builder = BatchBuilder::new();
    builder.push_with(|envelope| {
        let mut writer = Writer::new(envelope);
        writer.timestamp(timestamp).source_id(source_id);
        writer.log(body.as_bytes(), Stream::Out);
    });
    store.ingest(&builder.finish(), |_| {});
}

fn config() -> RawSql {
    RawSql {
        listen: weir_config::ListenAddr::loopback(0),
        token_file: std::path::PathBuf::new(),
        timeout: weir_config::Duration::from_secs(20),
        max_rows: 100,
        memory: weir_config::ByteSize::mib(64),
        concurrency: 2,
    }
}

fn router(store: &Store, authorizer: Arc<dyn Authorizer>) -> Router {
    let (_, shutdown) = Shutdown::new();
    Sql::start(store, &config(), authorizer, Arc::default(), shutdown)
        .expect("an engine")
        .router()
}

fn token() -> Arc<dyn Authorizer> {
    Arc::new(StaticToken::new(TOKEN).expect("a token"))
}

fn post(path: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header(header::AUTHORIZATION, format!("bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, kind)
        .body(body.into())
        .expect("a request")
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .expect("a body");
    String::from_utf8(body.to_vec()).expect("text")
}

/// An answer has the requested format, and headers with its limits.
#[tokio::test]
async fn answers_have_rows_and_limits() {
    let router = router(&store(), token());
    let request = post("/v1/sql?format=csv", "text/plain", "select count(*) as n from logs");
    let response = router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
    assert_eq!(response.headers()["x-weir-rows"], "1");
    assert_eq!(
        response.headers()["x-weir-limits"],
        "timeout=20s, rows=100, bytes=67108864, memory=67108864"
    );
    assert!(!response.headers().contains_key("x-weir-truncated"));
    assert_eq!(text(response).await, "n\n6\n");

    let body = r#"{"query":"select seq from logs where source_id = 'app' order by seq","format":"json","max_rows":2}"#;
    let response = router
        .oneshot(post("/v1/sql", "application/json", body))
        .await
        .expect("infallible");
    assert_eq!(response.headers()["x-weir-truncated"], "rows");
    assert_eq!(text(response).await, "[{\"seq\":1},{\"seq\":2}]\n");
}

/// A long answer is written in pieces while it is read. The memory for it is far less than its text, and is freed when
/// the client goes. A table shows the beginning of wide cells, or whole cells.
#[tokio::test]
async fn long_answers_are_written_while_they_are_read() {
    let store = store();
    let answers: Arc<Answers> = Arc::default();
    let (_, shutdown) = Shutdown::new();
    let router = Sql::start(&store, &config(), token(), Arc::clone(&answers), shutdown)
        .expect("an engine")
        .router();
    let long = "select repeat('x', 60000) as x from generate_series(1, 100)";
    for format in ["csv", "json", "ndjson", "arrow", "table&wide=true"] {
        let request = post(&format!("/v1/sql?format={format}"), "text/plain", long);
        let response = router.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-weir-rows"], "100");
        let mut pieces = response.into_body().into_data_stream();
        let (mut count, mut bytes) = (0, 0);
        while let Some(piece) = pieces.next().await {
            let piece = piece.expect("a piece");
            assert!(piece.len() < 1 << 20, "{format}: {} bytes at once", piece.len());
            (count, bytes) = (count + 1, bytes + piece.len());
        }
        assert!(
            count > 10 && bytes > 6_000_000,
            "{format}: {count} pieces of {bytes} bytes"
        );
    }
    let request = post("/v1/sql?format=csv", "text/plain", long);
    let response = router.clone().oneshot(request).await.expect("infallible");
    assert!(answers.held() > 6_000_000, "its rows");
    drop(response);
    assert_eq!(answers.held(), 0, "the client went");
    let wide = |path| {
        router
            .clone()
            .oneshot(post(path, "text/plain", "select repeat('x', 900) as x"))
    };
    let cut = text(wide("/v1/sql").await.expect("infallible")).await;
    assert!(cut.contains("x… |") && !cut.contains(&"x".repeat(500)), "{cut}");
    let whole = text(wide("/v1/sql?wide=true").await.expect("infallible")).await;
    assert!(whole.contains(&"x".repeat(900)), "{whole}");
}

/// Each error has a hint and the right status.
#[tokio::test]
async fn errors_have_hints() {
    let router = router(&store(), token());
    for (request, status, expected) in [
        (
            post("/v1/sql", "text/plain", "select * from log"),
            400,
            r#"{"error":"query: no table `log`","hint":"did you mean `logs`?"}"#,
        ),
        (
            post("/v1/sql", "text/plain", "drop table logs"),
            400,
            "can only be read",
        ),
        (
            post(
                "/v1/sql?timeout=1ms",
                "text/plain",
                "select count(*) from logs a, logs b, logs c, logs d, logs e, logs f, logs g, logs h, logs i",
            ),
            504,
            "not done after",
        ),
        (post("/v1/sql", "application/json", "[]"), 400, "not readable"),
        (
            post("/v1/sql", "text/plain", format!("select 1 as {}", "x".repeat(100_000))),
            413,
            "give it a shorter one",
        ),
        (
            post("/v1/sql", "text/plain", "select * from logs where body ~ source_id"),
            400,
            "the pattern of `~` is not a literal",
        ),
        (
            post(
                "/v1/sql",
                "text/plain",
                format!("select {}", "1,".repeat(6_000).trim_end_matches(',')),
            ),
            413,
            "columns of a `SELECT` `501` is more than the `500`",
        ),
        (post("/v1/sql", "text/plain", vec![b'x'; 3 << 20]), 413, "larger than"),
        (
            post("/v1/nothing", "text/plain", "select 1"),
            404,
            "POST the query to /v1/sql",
        ),
        (
            Request::get("/v1/sql").body(Body::empty()).expect("a request"),
            405,
            "POST the query to /v1/sql",
        ),
        (
            Request::post("/v1/sql")
                .body(Body::from("select 1"))
                .expect("a request"),
            401,
            r#"{"error":"authorization not provided","hint":"send `Authorization: bearer TOKEN`"}"#,
        ),
        (
            Request::post("/v1/sql")
                .header("authorization", "bearer wrong")
                .body(Body::from("x"))
                .expect("a request"),
            401,
            "invalid authorization",
        ),
    ] {
        let response = router.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status().as_u16(), status, "{expected}");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
        let text = text(response).await;
        assert!(text.contains(expected), "{text}");
    }
}

/// An authorizer whose token may read one source.
#[derive(Debug)]
struct OneSource;

impl Authorizer for OneSource {
    fn caller<'a>(&'a self, _token: Option<&'a str>) -> Verdict<'a> {
        Box::pin(async { Ok(Caller::new("dev", Scope::sources(["app"]))) })
    }
}

/// A caller's scope filters the rows of all its queries, live ones included.
#[tokio::test]
async fn the_scope_filters_rows() {
    let store = store();
    let router = router(&store, Arc::new(OneSource));
    let ask = post(
        "/v1/sql?format=csv",
        "text/plain",
        "select count(*) as n, max(body) as b from logs",
    );
    assert_eq!(
        text(router.clone().oneshot(ask).await.expect("infallible")).await,
        "n,b\n5,hello\n"
    );
    let live = post(
        "/v1/sql?follow=true",
        "text/plain",
        "select source_id, body from logs where body <> 'skip'",
    );
    let response = router.oneshot(live).await.expect("infallible");
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut lines = response.into_body().into_data_stream();
    log(&store, "other", 7, "hidden");
    log(&store, "app", 8, "skip");
    log(&store, "app", 9, "shown");
    let line = lines.next().await.expect("a line").expect("a line");
    assert_eq!(line, "{\"source_id\":\"app\",\"body\":\"shown\"}\n");
}

/// A live answer whose client reads nothing while lines arrive reports exactly the visible lines, received and missed.
#[tokio::test]
async fn live_answers_count_only_visible_rows() {
    let store = store();
    let router = router(&store, Arc::new(OneSource));
    let live = post("/v1/sql?follow=true", "text/plain", "select body from logs");
    let response = router.oneshot(live).await.expect("infallible");
    (0..600).for_each(|time| log(&store, "app", time, "seen"));
    (0..900).for_each(|time| log(&store, "other", time, "hidden"));
    let mut lines = response.into_body().into_data_stream();
    let (mut came, mut missed) = (0, 0);
    while came + missed < 600 {
        let text = lines.next().await.expect("a line").expect("a line");
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: serde_json::Value = serde_json::from_slice(line).expect("an object");
            match line["$missed"].as_u64() {
                Some(rows) => missed += rows,
                None => {
                    assert_eq!(line["body"], "seen");
                    came += 1;
                }
            }
        }
    }
    assert_eq!(came + missed, 600, "{missed} missed");
    assert!(missed > 0, "the queue held everything");
}

/// The number of a caller's live queries is limited, and the error says so.
#[tokio::test]
async fn live_answers_are_limited() {
    let store = store();
    let router = router(&store, Arc::new(OneSource));
    let live = || post("/v1/sql?follow=true", "text/plain", "select body from logs");
    let mut open = Vec::new();
    let refused = loop {
        let response = router.clone().oneshot(live()).await.expect("infallible");
        if response.status() != StatusCode::OK {
            break response;
        }
        open.push(response);
    };
    assert_eq!(open.len(), EngineLimits::default().followers_per_caller);
    assert!(open.len() < EngineLimits::default().followers);
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(text(refused).await.contains("live queries of yours are running"));
}

/// A live query that fails on a row, or that cannot be followed, returns an error.
#[tokio::test]
async fn live_queries_report_failures() {
    let store = store();
    let router = router(&store, token());
    let request = post("/v1/sql?follow=1", "text/plain", "select count(*) from logs");
    let response = router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(text(response).await.contains("aggregates need an end"));
    let body = r#"{"query":"select cast(body as int) as n from logs","follow":true}"#;
    let response = router
        .oneshot(post("/v1/sql", "application/json", body))
        .await
        .expect("infallible");
    let mut lines = response.into_body().into_data_stream();
    log(&store, "app", 7, "12");
    assert_eq!(lines.next().await.expect("a line").expect("a line"), "{\"n\":12}\n");
    log(&store, "app", 8, "twelve");
    let error = lines.next().await.expect("a line").expect("a line");
    assert!(error.starts_with(b"{\"$error\":\"query: "), "{error:?}");
    assert!(lines.next().await.is_none());
}

/// With a token of UAA, a tenant's queries read its rows only, in every form, and none without rights. A live answer
/// ends with a reason when the token ends.
#[tokio::test]
async fn tokens_of_uaa_limit_queries() {
    let (_trigger, context) = weir_service::Context::new("log-cache");
    let issuer = TestIssuer::new();
    let store = store();
    let verifier = issuer.verifier(&context.shutdown, &context.tasks);
    let alone = router(&of_app_alone(), verifier.clone());
    let router = router(&store, verifier);
    let ask_at = |router: &Router, path: &str, token: &str, sql: &'static str| {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("bearer {token}"))
            .header(header::CONTENT_TYPE, "text/plain")
            .body(Body::from(sql))
            .expect("a request");
        router.clone().oneshot(request)
    };
    let ask = |path: &str, token: &str, sql: &'static str| ask_at(&router, path, token, sql);
    let admin = issuer.token("admin", &["logs.admin"]);
    let dev = issuer.token("dev", &["logs.read.app"]);
    let nobody = issuer.token("nobody", &["cloud_controller.read"]);
    let response = ask("/v1/sql?format=csv", &admin, "select count(*) as n from logs")
        .await
        .expect("infallible");
    assert_eq!(text(response).await, "n\n6\n");
    for sql in [
        "select * from logs",
        "with l as (select * from logs) select count(*) as n, max(body) as b, max(source_id) as s from l",
        "select * from logs where source_id = 'other'",
        "select a.body from logs a join logs b on a.timestamp = b.timestamp",
        "explain analyze select count(*) from logs",
        "select cast(body as int) from logs where source_id <> 'app'",
        "select count(*) as n from logs having count(*) > 5",
    ] {
        let mut texts = Vec::new();
        for (router, token) in [(&router, &dev), (&alone, &dev), (&router, &admin)] {
            let response = ask_at(router, "/v1/sql?format=json", token, sql)
                .await
                .expect("infallible");
            texts.push(text(response).await);
        }
        assert_eq!(texts[0], texts[1], "{sql}: the same as if there were nothing else");
        assert_ne!(texts[0], texts[2], "{sql}: it shows no more to whoever sees everything");
    }
    let response = ask("/v1/sql", &nobody, "select 1").await.expect("infallible");
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(text(response).await.contains("name a source you may read"));
    // Two headers, and a body that is not read from a client without access.
    let request = Request::post("/v1/sql")
        .header(header::AUTHORIZATION, format!("bearer {admin}"))
        .header(header::AUTHORIZATION, format!("bearer {dev}"))
        .body(Body::from_stream(futures::stream::pending::<
            Result<axum::body::Bytes, std::io::Error>,
        >()))
        .expect("a request");
    let response = router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);

    let live = ask("/v1/sql?follow=true", &dev, "select body from logs")
        .await
        .expect("infallible");
    let mut lines = live.into_body().into_data_stream();
    log(&store, "app", 9, "shown");
    assert_eq!(
        lines.next().await.expect("a line").expect("a line"),
        "{\"body\":\"shown\"}\n"
    );
    issuer.revoke(Revoked::User {
        user_id: "id-of-dev".to_owned(),
        client_id: None,
    });
    let last = tokio::time::timeout(Duration::from_secs(30), lines.next())
        .await
        .expect("in time");
    let last = last.expect("a line").expect("a line");
    assert!(last.starts_with(b"{\"$error\":\"the token was revoked\""), "{last:?}");
    assert!(lines.next().await.is_none());
    let response = ask("/v1/sql", &dev, "select 1").await.expect("infallible");
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(text(response).await.contains("authorization was revoked"));
}
