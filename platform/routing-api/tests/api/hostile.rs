//! Callers that do not behave.

use http::Method;
use serde_json::json;
use weir_eventually::eventually_async;

use crate::common::Deployment;
use crate::events::Stream;

/// Subscribers that do not read are ended, their places are free again, and one that reads misses nothing meanwhile.
#[tokio::test]
async fn subscribers_that_do_not_read_are_ended() {
    let deployment = Deployment::on_sqlite().await;
    let api = deployment.start_with(|raw| raw.limits.subscriptions = 3).await;
    let mut reading = Stream::open(&api, "/events").await;
    let silent = [Stream::open(&api, "/events").await, Stream::open(&api, "/events").await];
    assert_eq!(Stream::open(&api, "/events").await.status(), "503");
    // Large routes fill what lies between the two ends: buffers of the kernel and of TLS.
    let long = "x".repeat(2000);
    let mut expected = 0_u16;
    loop {
        let routes: Vec<_> = (expected..expected + 200)
            .map(|port| json!({"route": "a.example", "port": port + 1, "ip": "1.2.3.4", "log_guid": long}))
            .collect();
        api.post("/routes", &json!(routes)).await.done(201);
        for _ in 0..200 {
            let (id, _, route) = reading
                .next()
                .await
                .expect("the stream of the subscriber that reads goes on");
            assert_eq!((id, &route["port"]), (expected.to_string(), &json!(expected + 1)));
            expected += 1;
        }
        if Stream::open(&api, "/events").await.status() == "200" {
            break;
        }
        assert!(expected < 60_000, "the silent subscribers are still served");
    }
    drop(silent);
    api.stop().await;
}

/// One caller does not take the subscriptions of all others.
#[tokio::test]
async fn a_caller_has_its_share() {
    let deployment = Deployment::on_sqlite().await;
    let mut api = deployment
        .start_with(|raw| raw.limits.subscriptions_per_caller = 1)
        .await;
    let first = Stream::open(&api, "/events").await;
    assert_eq!(Stream::open(&api, "/tcp_routes/events").await.status(), "429");
    api.token = deployment.issuer.token("other", &["routing.routes.read"]);
    assert_eq!(Stream::open(&api, "/events").await.status(), "200");
    api.token = deployment.issuer.token("operator", &["routing.routes.read"]);
    drop(first);
    let is_free = async || Stream::open(&api, "/events").await.status() == "200";
    eventually_async("the place is free again", is_free).await;
    api.stop().await;
}

/// What cannot be read is refused, and nothing of it is kept.
#[tokio::test]
async fn garbage_is_refused() {
    let deployment = Deployment::on_sqlite().await;
    let api = deployment.start().await;
    let bearer = format!("bearer {}", api.token);
    let deep = "[".repeat(100_000);
    for path in ["/routes", "/tcp_routes/create", "/tcp_routes/delete", "/router_groups"] {
        for body in [
            "",
            "{",
            "[1]",
            "7",
            "\"x\"",
            "\u{0}",
            "[{\"port\":65536}]",
            "[{\"port\":-1}]",
            "[{\"ttl\":1e99}]",
            "[{\"route\":{}}]",
            deep.as_str(),
        ] {
            let answer = api.ask(Method::POST, path, &bearer, body.to_owned()).await;
            assert_eq!(
                answer.status.as_u16(),
                400,
                "{path} {}: {answer:?}",
                &body[..body.len().min(20)]
            );
            assert!(
                answer
                    .body
                    .starts_with(b"{\"name\":\"ProcessRequestError\",\"message\":\"Cannot process request: ")
            );
        }
    }
    let answer = api
        .ask(Method::POST, "/routes", &bearer, "x".repeat((16 << 20) + 1))
        .await;
    let reason = "body of the request is larger than `16777216` bytes";
    answer.refused(413, "ProcessRequestError", &format!("Cannot process request: {reason}"));
    assert_eq!(api.get("/nothing").await.status.as_u16(), 404);
    assert_eq!(api.call(Method::PUT, "/routes", &json!([])).await.status.as_u16(), 405);
    api.stop().await;
}
