//! Tests of UAA tokens at the traffic controller: who gets which stream, how refusals look, and how a stream ends with
//! its token.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says so by a panic")]

#[allow(dead_code, reason = "shared with the other tests")]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Controller, Doppler, PATIENCE, Pki, TOKEN, next, number, numbered};
use tokio_tungstenite::tungstenite::{self, Message};
use weir_auth::revocation::Revoked;
use weir_auth::testing::TestIssuer;
use weir_auth::{Authorizer, Gate, StaticToken};
use weir_eventually::eventually;
use weir_traffic_controller_server::{RawConfig, RawLimits};

const GUID: &str = "00000000-aaaa-0000-0000-000000000001";
const OTHER: &str = "00000000-aaaa-0000-0000-000000000002";

struct Setup {
    issuer: Arc<TestIssuer>,
    doppler: Doppler,
    controller: Controller,
    _pki: Pki,
}

impl Setup {
    async fn new() -> Self {
        Self::with(RawConfig::default()).await
    }

    async fn with(raw: RawConfig) -> Self {
        let (pki, issuer) = (Pki::new(), TestIssuer::new());
        let doppler = Doppler::start(&pki, 0);
        let controller = Controller::start_with(&pki, &[doppler.address], raw, |context| {
            let verifier = issuer.verifier(&context.shutdown, &context.tasks);
            let local = StaticToken::new(TOKEN).unwrap();
            Some(Arc::new(Gate::new(Some(local), Some(verifier))) as Arc<dyn Authorizer>)
        })
        .await;
        Self {
            issuer,
            doppler,
            controller,
            _pki: pki,
        }
    }

    fn token(&self, name: &str, scopes: &[&str]) -> String {
        format!("bearer {}", self.issuer.token(name, scopes))
    }

    async fn refused(&self, path: &str, token: Option<&str>) -> (u16, bool, String) {
        match self.controller.open(path, token).await {
            Err(tungstenite::Error::Http(answer)) => (
                answer.status().as_u16(),
                answer
                    .headers()
                    .get("www-authenticate")
                    .is_some_and(|value| value == "Basic"),
                String::from_utf8(answer.body().clone().unwrap_or_default()).unwrap(),
            ),
            other => panic!("{path}: {other:?}"),
        }
    }
}

/// The firehose requires `doppler.firehose`, and an app stream the right to read the app. The operator's token permits
/// both.
#[tokio::test]
async fn scopes_open_streams() {
    let setup = Setup::new().await;
    let firehose = setup.token("admin", &["doppler.firehose"]);
    let reader = setup.token("reader", &["logs.admin"]);
    let tenant = setup.token("dev", &[&format!("logs.read.{GUID}")]);
    let nobody = setup.token("nobody", &["cloud_controller.read"]);
    let (mine, theirs) = (format!("/apps/{GUID}/stream"), format!("/apps/{OTHER}/stream"));
    for (path, token) in [
        ("/firehose/n", firehose.as_str()),
        ("/firehose/n", TOKEN),
        (&mine, &firehose),
        (&mine, &reader),
        (&mine, &tenant),
        (&mine, TOKEN),
    ] {
        assert!(setup.controller.open(path, Some(token)).await.is_ok(), "{path}");
    }
    let invalid = "You are not authorized. invalid authorization";
    for (path, token, expected) in [
        ("/firehose/n", Some(reader.as_str()), (401, true, invalid)),
        ("/firehose/n", Some(&tenant), (401, true, invalid)),
        ("/firehose/n", Some("bearer a.b.c"), (401, true, invalid)),
        (
            "/firehose/n",
            None,
            (401, true, "You are not authorized. authorization not provided"),
        ),
        (&theirs, Some(&tenant), (404, false, "")),
        (&mine, Some(&nobody), (404, false, "")),
        (&mine, Some("bearer a.b.c"), (401, true, "")),
        (&mine, None, (401, true, "")),
        ("/apps/doppler/stream", Some(&firehose), (401, false, "")),
    ] {
        let (status, basic, body) = setup.refused(path, token).await;
        assert_eq!((status, basic, body.as_str()), expected, "{path}");
    }
}

/// A request with two authorization headers is refused. A cookie counts for pages of the system domain only.
#[tokio::test]
async fn forged_credentials_are_refused() {
    let setup = Setup::new().await;
    let good = setup.token("admin", &["doppler.firehose"]);
    let handshake = |headers: &str| {
        format!(
            "GET /firehose/n HTTP/1.1\r\nHost: doppler.sys.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        )
    };
    let cookie = format!("Cookie: authorization={}\r\n", good.replace(' ', "%20"));
    for (headers, status) in [
        (format!("Authorization: {good}\r\nAuthorization: {good}\r\n"), 401),
        (format!("Authorization: bearer x\r\nauthorization: {good}\r\n"), 401),
        (format!("Authorization: \r\n{cookie}"), 401),
        (
            format!("X-Forwarded-Authorization: {good}\r\nX-User-Id: admin\r\nX-Weir-Caller: operator\r\n"),
            401,
        ),
        (format!("{cookie}Origin: https://evil.example\r\n"), 401),
        (format!("{cookie}Origin: null\r\n"), 401),
        (format!("{cookie}Origin: https://console.sys.example\r\n"), 101),
        (cookie.clone(), 101),
        (
            format!("Authorization: {good}\r\nOrigin: https://evil.example\r\n"),
            101,
        ),
    ] {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut connection = setup.controller.connect().await;
        connection.write_all(handshake(&headers).as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&answer),
            format!("HTTP/1.1 {status}"),
            "{headers}"
        );
    }
}

/// Requests that a proxy and this server might parse differently are refused, or mean what they say here and end the
/// connection after the first of them.
#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let setup = Setup::new().await;
    let good = setup.token("admin", &["doppler.firehose"]);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let handshake = |headers: &str| {
        format!("GET /firehose/n HTTP/1.1\r\nHost: doppler.sys.example\r\nConnection: close\r\n{upgrade}{headers}\r\n")
    };
    let cookie = format!("Cookie: authorization={}\r\n", good.replace(' ', "%20"));
    for (headers, status) in [
        // A folded header value, and names that only resemble the header.
        (format!("Authorization: bearer\r\n {}\r\n", &good[7..]), "400"),
        (format!("X: y\r\n\tAuthorization: {good}\r\n"), "400"),
        (format!("Authorization : {good}\r\n"), "400"),
        (format!("Authorization\0: {good}\r\n"), "400"),
        (format!("X: y\rAuthorization: {good}\r\n"), "400"),
        (format!("Authorization_: {good}\r\n"), "401"),
        (
            format!("HTTP_AUTHORIZATION: {good}\r\nProxy_Authorization: {good}\r\n"),
            "401",
        ),
        (format!("Authorization: bearer x\r\nAuthorization_: {good}\r\n"), "401"),
        (
            format!("{cookie}Origin: https://evil.example\r\nOrigin_: https://console.sys.example\r\n"),
            "401",
        ),
        (
            format!("{cookie}Origin: https://evil.example\r\nOrigin: https://console.sys.example\r\n"),
            "401",
        ),
        // Contradicting lengths.
        (
            format!("Authorization: {good}\r\nContent-Length: 0\r\nContent-Length: 5\r\n"),
            "400",
        ),
        (format!("Authorization: {good}\r\nContent-Length: +0\r\n"), "400"),
        (
            format!("Authorization: {good}\r\nTransfer-Encoding: chunked, identity\r\n"),
            "400",
        ),
        (
            format!("Authorization: {good}\r\nTransfer_Encoding: chunked\r\nX: y\r\n"),
            "101",
        ),
    ] {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut connection = setup.controller.connect().await;
        connection.write_all(handshake(&headers).as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&answer),
            format!("HTTP/1.1 {status}"),
            "{headers}"
        );
    }
    // A request in the body of another one: by its length it is part of a form, and by its chunks it follows the form.
    let inner = format!("GET /firehose/n HTTP/1.1\r\nHost: x\r\n{upgrade}Authorization: {good}\r\n\r\n");
    let chunked = format!("0\r\n\r\n{inner}");
    for lengths in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunked.len()),
    ] {
        let outer = format!("POST /set-cookie HTTP/1.1\r\nHost: x\r\n{lengths}\r\n{chunked}");
        let answer = setup.controller.ask(&outer).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
}

/// The app streams of one tenant are limited, with any of its tokens. Nozzles, administrators and other tenants are not
/// affected.
#[tokio::test]
async fn streams_of_one_caller_are_limited() {
    let setup = Setup::with(RawConfig {
        limits: RawLimits {
            subscriptions: 6,
            streams_per_caller: 2,
            ..RawLimits::default()
        },
        ..RawConfig::default()
    })
    .await;
    let scope = format!("logs.read.{GUID}");
    let (greedy, other) = (setup.token("greedy", &[&scope]), setup.token("other", &[&scope]));
    let admin = setup.token("admin", &["doppler.firehose"]);
    let app = format!("/apps/{GUID}/stream");
    let mut first = setup.controller.open(&app, Some(&greedy)).await.unwrap();
    let again = setup.token("greedy", &[&scope, "openid"]);
    let _second = setup.controller.open(&app, Some(&again)).await.unwrap();
    let (status, _, body) = setup.refused(&app, Some(&greedy)).await;
    assert_eq!(
        (status, body.as_str()),
        (429, "there are too many streams of this user or client already\n")
    );
    let mut others = vec![setup.controller.open(&app, Some(&other)).await.unwrap()];
    for path in [&app, "/firehose/n", &app] {
        others.push(setup.controller.open(path, Some(&admin)).await.unwrap());
    }
    assert_eq!(setup.refused("/firehose/n", Some(&admin)).await.0, 503);
    first.close(None).await.unwrap();
    let ledger = setup.controller.ledger();
    eventually("a place is free", || ledger.snapshot().subscribers == 5).await;
    let again = async {
        while setup.controller.open(&app, Some(&greedy)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

/// What was written before the token ended arrives. Then the stream closes with a reason, and other streams go on.
#[tokio::test]
async fn revocation_and_expiry_close_streams() {
    let setup = Setup::new().await;
    let revoked = setup.token("gone", &["doppler.firehose"]);
    let mut claims = setup.issuer.claims("short", &["doppler.firehose"]);
    // The token has expired, but the leeway of five seconds is not over.
    claims["exp"] = serde_json::json!(weir_service::clock::now_nanos() / 1_000_000_000 - 2);
    let short = setup.issuer.sign(&claims);
    let mut revoked = setup.controller.open("/firehose/a", Some(&revoked)).await.unwrap();
    let mut short = setup.controller.open("/firehose/b", Some(&short)).await.unwrap();
    let mut other = setup
        .controller
        .open("/firehose/c", Some(&setup.token("other", &["doppler.firehose"])))
        .await
        .unwrap();
    let subscriptions = setup.doppler.subscriptions(3).await;
    setup.doppler.publish(&numbered("app", 0, 10, 10));
    for client in [&mut revoked, &mut short, &mut other] {
        for expected in 0..10 {
            assert_eq!(number(&next(client).await), Some(expected));
        }
    }
    setup.issuer.revoke(Revoked::User {
        user_id: "id-of-gone".to_owned(),
        client_id: None,
    });
    for (client, why) in [
        (&mut revoked, "the token was revoked"),
        (&mut short, "the token has expired"),
    ] {
        let closed = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                if let Message::Close(frame) = next(client).await {
                    return frame;
                }
            }
        });
        let frame = closed.await.unwrap().unwrap();
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, why));
    }
    let third = subscriptions
        .iter()
        .find(|subscription| subscription.request.shard_id == "c");
    third.unwrap().publish(&numbered("app", 10, 1, 10));
    assert_eq!(number(&next(&mut other).await), Some(10));
}
