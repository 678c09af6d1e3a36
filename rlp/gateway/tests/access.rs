//! Tests of authorization: who gets which stream, what others are answered, and how a stream ends with its token.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

#[allow(dead_code, reason = "shared with the other tests")]
mod common;

use std::time::Duration;

use common::{Setup, TOKEN, event_of, lines};
use weir_auth::revocation::Revoked;
use weir_eventually::eventually;
use weir_rlp_gateway::RawConfig;

fn json(message: &str, name: &str) -> String {
    format!("{{\"message\":\"{message}\",\"error\":\"{name}\"}}\n\n")
}

async fn refused(setup: &Setup, method: &str, path: &str, headers: &str) -> (u16, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    let answer = setup.send(&request).await.rest().await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("\r\ncontent-type: text/plain; charset=utf-8\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nx-content-type-options: nosniff\r\n"), "{head}");
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// Every refusal is exact to the byte.
#[tokio::test]
async fn refusals_are_the_originals() {
    let setup = Setup::start(RawConfig::default()).await;
    let right = format!("Authorization: bearer {TOKEN}\r\n");
    let gone = json("resource not found", "not_found");
    let no_path = "404 page not found\n".to_owned();
    let empty = json("query cannot be empty", "empty_query");
    let no_type = json("query must provide at least one envelope type", "missing_envelope_type");
    for (method, path, headers, expected) in [
        ("GET", "/", right.as_str(), (404, no_path.clone())),
        ("GET", "/v2/read/", &right, (404, no_path.clone())),
        ("GET", "/v2/READ?log", &right, (404, no_path.clone())),
        ("GET", "/v2%2Fread?log", &right, (404, no_path.clone())),
        ("GET", "//v2/read?log", &right, (404, no_path)),
        ("GET", "/v2/read?log", "", (404, gone.clone())),
        ("GET", "/v2/read?log", "Authorization: \r\n", (404, gone.clone())),
        (
            "GET",
            "/v2/read?log",
            "Authorization: bearer wrong\r\n",
            (404, gone.clone()),
        ),
        (
            "GET",
            "/v2/read?log",
            "Cookie: authorization=0123456789abcdef0123456789abcdef\r\n",
            (404, gone.clone()),
        ),
        ("POST", "/v2/read?log", "", (404, gone.clone())),
        (
            "POST",
            "/v2/read?log",
            &right,
            (405, json("method not allowed", "method_not_allowed")),
        ),
        (
            "DELETE",
            "/v2/read",
            &right,
            (405, json("method not allowed", "method_not_allowed")),
        ),
        ("GET", "/v2/read", &right, (400, empty.clone())),
        ("GET", "/v2/read?", &right, (400, empty.clone())),
        // An escaped letter is that letter, as in the original.
        ("GET", "/v2/%72ead", &right, (400, empty)),
        ("GET", "/v2/%72ead?log", "", (404, gone)),
        ("GET", "/v2/read?source_id=a", &right, (400, no_type.clone())),
        ("GET", "/v2/read?logs", &right, (400, no_type)),
        (
            "GET",
            "/v2/read?log&source_id=%",
            &right,
            (400, json("query is not readable", "malformed_query")),
        ),
        (
            "GET",
            &format!("/v2/read?log&{}", "source_id=a&".repeat(4097)),
            &right,
            (
                400,
                json(
                    "query asks for too many sources, types and names at once",
                    "too_many_selectors",
                ),
            ),
        ),
    ] {
        let (status, body) = refused(&setup, method, path, headers).await;
        let shown: String = path.chars().take(60).collect();
        assert_eq!((status, body), expected, "{method} {shown} {headers}");
    }
    assert_eq!(setup.rlp.count(), 0, "the RLP hears of none of them");
    setup.stop().await;
}

/// Administrators see everything. Others must name sources, and get a stream only if they may read all of them.
#[tokio::test]
async fn tenants_see_only_their_sources() {
    let setup = Setup::start(RawConfig::default()).await;
    let dev = setup.token("dev", &["logs.read.app-1", "logs.read.app/2"]);
    let nobody = setup.token("nobody", &["cloud_controller.read"]);
    for admin in [
        TOKEN.to_owned(),
        setup.token("admin", &["doppler.firehose"]),
        setup.token("reader", &["logs.admin"]),
    ] {
        drop(setup.stream("log", &admin, "").await);
        drop(setup.stream("log&source_id=", &admin, "").await);
        drop(setup.stream("log&source_id=app-1&source_id=whatever", &admin, "").await);
    }
    let before = setup.rlp.count();
    for query in [
        "log&source_id=app-1",
        "log&source_id=app%2F2&source_id=app-1",
        "source_id=app-1&counter.name=x&log",
    ] {
        drop(setup.stream(query, &dev, "").await);
    }
    setup.rlp.subscription(before + 3).await;
    for query in [
        "log",
        "log&source_id",
        "log&source_id=",
        "log&source_id=app-1&source_id=",
        "log&source_id=app-1&source_id=other",
        "log&source_id=other",
        "log&source_id=APP-1",
        "log&source_id=app-1%20",
        "log&source_id=app-1%00",
        "log&source_id=app",
        "log&source_id=*",
        "log&sourceid=app-1",
        "log&SOURCE_ID=app-1",
        "log&source_id=app-1;source_id=other",
        "log&source_id=app-1&source_id=%zz",
        "source_id=other",
        "",
    ] {
        for token in [&dev, &nobody] {
            let (status, body) = refused(
                &setup,
                "GET",
                &format!("/v2/read?{query}"),
                &format!("Authorization: {token}\r\n"),
            )
            .await;
            assert_eq!(
                (status, body),
                (404, json("resource not found", "not_found")),
                "{query}"
            );
        }
    }
    assert_eq!(setup.rlp.count(), before + 3);
    setup.stop().await;
}

/// Headers that a proxy might have set are ignored. Two tokens, or a token in another header, are refused.
#[tokio::test]
async fn forged_identities_are_ignored() {
    let setup = Setup::start(RawConfig::default()).await;
    let admin = setup.token("admin", &["doppler.firehose"]);
    let dev = setup.token("dev", &["logs.read.app"]);
    let (admin, dev) = (
        format!("Authorization: bearer {admin}\r\n"),
        format!("Authorization: bearer {dev}\r\n"),
    );
    for headers in [
        format!("{dev}{admin}"),
        format!("{admin}{admin}"),
        format!("{admin}authorization: x\r\n"),
        format!("{dev}X-Forwarded-Authorization: x\r\nX-Forwarded-User: admin\r\nX-Weir-Caller: operator\r\n"),
        format!("{dev}X-Original-URL: /v2/read?log\r\nX-HTTP-Method-Override: GET\r\n"),
        "Proxy-Authorization: bearer x\r\n".to_owned(),
    ] {
        let (status, _) = refused(&setup, "GET", "/v2/read?log&source_id=other", &headers).await;
        assert_eq!(status, 404, "{headers}");
    }
    // A second request within the body of the first one is not handled as a request.
    let inner = format!("GET /v2/read?log HTTP/1.1\r\nHost: x\r\n{admin}\r\n");
    let smuggled = format!(
        "POST /v2/read?log HTTP/1.1\r\nHost: x\r\n{admin}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        inner.len()
    );
    let answer = setup.send(&smuggled).await.rest().await;
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    setup.stop().await;
}

/// A page of another origin gets nothing through a browser: cookies are not read, and no response allows the page to
/// read it. A client with a token in the header is served, whatever its origin.
#[tokio::test]
async fn pages_of_other_origins_see_nothing() {
    let setup = Setup::start(RawConfig::default()).await;
    let page = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n";
    let right = format!("Authorization: bearer {TOKEN}\r\n");
    let cookie = format!("Cookie: authorization=bearer%20{TOKEN}; session={TOKEN}\r\n");
    let preflight = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n";
    for (method, headers, status) in [
        ("GET", cookie.clone(), "404"),
        ("GET", format!("{cookie}{right}"), "200"),
        ("GET", right.clone(), "200"),
        ("POST", right.clone(), "405"),
        ("OPTIONS", preflight.to_owned(), "404"),
        ("OPTIONS", format!("{preflight}{cookie}"), "404"),
        ("OPTIONS", format!("{preflight}{right}"), "405"),
    ] {
        let request = format!("{method} /v2/read?log HTTP/1.1\r\nHost: x\r\n{page}{headers}\r\n");
        let head = setup.send(&request).await.head().await;
        assert_eq!(&head[9..12], status, "{method} {headers}");
        let head = head.to_lowercase();
        for allowed in ["\r\naccess-control-", "\r\nset-cookie", "evil.example"] {
            assert!(!head.contains(allowed), "{method} {headers}: {head}");
        }
    }
    setup.stop().await;
}

/// A header that is too large or never ends affects its own connection only.
#[tokio::test]
async fn large_and_endless_heads() {
    let setup = Setup::start(RawConfig::default()).await;
    let huge = format!(
        "GET /v2/read?log&source_id={} HTTP/1.1\r\nHost: x\r\n\r\n",
        "a".repeat(100_000)
    );
    let answer = setup.send(&huge).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{}", &answer[..answer.len().min(100)]);
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let answer = setup.get("/v2/read?log", &many).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let huge = format!("Authorization: bearer {}\r\nConnection: close\r\n", "a.".repeat(20_000));
    assert!(
        setup
            .get("/v2/read?log", &huge)
            .await
            .rest()
            .await
            .starts_with("HTTP/1.1 404 ")
    );
    drop(setup.stream("log", TOKEN, "").await);
    setup.stop().await;
}

/// A stream ends with an event when its token is revoked or expires. What was sent before arrives, and other streams go
/// on.
#[tokio::test]
async fn streams_end_with_their_tokens() {
    let setup = Setup::start(RawConfig::default()).await;
    let gone = setup.token("gone", &["logs.read.app"]);
    let mut claims = setup.issuer.claims("short", &["logs.read.app"]);
    // The token has expired, but the leeway of five seconds is not over.
    claims["exp"] = serde_json::json!(weir_service::clock::now_nanos() / 1_000_000_000 - 2);
    let short = setup.issuer.sign(&claims);
    let mut revoked = setup.stream("log&source_id=app", &gone, "").await;
    let mut expired = setup.stream("log&source_id=app", &short, "").await;
    let mut other = setup
        .stream("log&source_id=app", &setup.token("other", &["logs.read.app"]), "")
        .await;
    for (number, client) in [(1, &mut revoked), (2, &mut expired), (3, &mut other)] {
        setup.rlp.subscription(number).await.send(lines("app", 0, 1, 1)).await;
        assert_eq!(client.event().await.unwrap(), event_of("app", 0, 1, 1, None));
    }
    setup.issuer.revoke(Revoked::User {
        user_id: "id-of-gone".to_owned(),
        client_id: None,
    });
    for (number, client, why) in [
        (1, &mut revoked, "the token was revoked"),
        (2, &mut expired, "the token has expired"),
    ] {
        let last = client.event().await.unwrap();
        assert_eq!(last, format!("event: closing\ndata: closing because {why}\n\n"));
        assert_eq!(client.event().await, None);
        let subscription = setup.rlp.subscription(number).await;
        eventually("the subscription ends", || subscription.is_over()).await;
    }
    setup.rlp.subscription(3).await.send(lines("app", 1, 1, 1)).await;
    assert_eq!(other.event().await.unwrap(), event_of("app", 1, 1, 1, None));
    let (status, _) = refused(
        &setup,
        "GET",
        "/v2/read?log&source_id=app",
        &format!("Authorization: {gone}\r\n"),
    )
    .await;
    assert_eq!(status, 404);
    setup.stop().await;
}

/// A client that does not read cannot outlive its token: its connection is cut.
#[tokio::test]
async fn a_revoked_client_that_does_not_read() {
    let setup = Setup::start(RawConfig::default()).await;
    let token = setup.token("gone", &["logs.read.app"]);
    let client = setup.stream("log&source_id=app", &token, "").await;
    let subscription = setup.rlp.subscription(1).await;
    let mut stuck = 0;
    while stuck < 200 {
        stuck = if subscription.try_send(lines("app", 0, 100, 10_000)) {
            0
        } else {
            stuck + 1
        };
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    setup.issuer.revoke(Revoked::User {
        user_id: "id-of-gone".to_owned(),
        client_id: None,
    });
    eventually("the subscription ends", || subscription.is_over()).await;
    let ledger = setup.ledger();
    eventually("nobody is subscribed", || ledger.snapshot().subscribers == 0).await;
    drop(client);
    setup.stop().await;
}
