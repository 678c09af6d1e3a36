//! What backends and clients are told in headers.

use crate::backend::{Backend, OK};
use crate::client::{Message, ask_once};
use crate::harness::{Router, router, router_with};

/// The request as the backend gets it, and the answer as the client gets it.
async fn through(router: &Router, fields: &str, answer: &str) -> (Message, Message) {
    let backend = Backend::answering(answer).await;
    router.register("a.example/path", backend.address, |registration| {
        registration.app_id = "app-1";
        registration.instance_id = "instance-1";
        registration.instance_index = "3";
    });
    let request = format!("GET /path HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
    let answer = ask_once(router.address, &request).await;
    (backend.only(), answer)
}

/// What the router adds to a request that says nothing itself.
#[tokio::test]
async fn backends_are_told_who_asks() {
    let router = router().await;
    let (request, answer) = through(&router, "X-CF-InstanceIndex: 9\r\nX-CF-ApplicationID: mine\r\n", OK).await;
    assert_eq!(request.header("host"), "a.example");
    assert_eq!(request.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(request.header("x-forwarded-proto"), "http");
    assert_eq!(request.header("x-cf-applicationid"), "app-1");
    assert_eq!(request.header("x-cf-instanceindex"), "3");
    assert_eq!(request.header("x-cf-instanceid"), "instance-1");
    let start = request.header("x-request-start");
    assert!(
        start.len() == 13 && start.bytes().all(|byte| byte.is_ascii_digit()),
        "{start}"
    );
    let number = request.header("x-vcap-request-id");
    assert_eq!(answer.header("x-vcap-request-id"), number);
    assert!(uuid::Uuid::parse_str(number).is_ok());
}

/// What a client or a proxy in front has said stays.
#[tokio::test]
async fn what_was_said_before_stays() {
    let router = router().await;
    let fields = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Request-Start: 5\r\nx_under_score: 1\r\n";
    let answer = "HTTP/1.1 200 OK\r\nX-Vcap-Request-Id: own\r\nContent-Length: 0\r\n\r\n";
    let (request, answer) = through(&router, fields, answer).await;
    assert_eq!(request.header("x-forwarded-for"), "192.0.2.1, 127.0.0.1");
    assert_eq!(request.header("x-forwarded-proto"), "https");
    assert_eq!(request.header("x-request-start"), "5");
    assert_eq!(request.header("x_under_score"), "1");
    assert_eq!(answer.header("x-vcap-request-id"), "own");
}

/// Headers for the next hop end here, in both directions.
#[tokio::test]
async fn hop_headers_end_here() {
    let router = router().await;
    let fields =
        "Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nProxy-Authorization: x\r\n";
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Own\r\nX-Own: 1\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n";
    let (request, answer) = through(&router, fields, answer).await;
    for name in ["x-secret", "keep-alive", "te", "proxy-authorization"] {
        assert!(!request.has(name), "{name}");
    }
    assert!(!answer.has("x-own") && !answer.has("keep-alive"));
}

/// An operator with the key is told the backend; others are not.
#[tokio::test]
async fn the_trace_key_shows_the_backend() {
    for (given, told) in [("key", true), ("other", false)] {
        let router = router_with(|raw| raw.headers.trace_key = weir_config::Secret::new("key".to_owned())).await;
        let (_, answer) = through(&router, &format!("X-Vcap-Trace: {given}\r\n"), OK).await;
        assert_eq!(answer.header("x-vcap-router") == "127.0.0.1", told);
        assert_eq!(answer.header("x-vcap-backend").starts_with("127.0.0.1:"), told);
        assert_eq!(answer.header("x-cf-routeendpoint"), answer.header("x-vcap-backend"));
    }
}

/// Cookies of eight kilobytes pass both ways.
#[tokio::test]
async fn large_cookies_pass() {
    let router = router().await;
    let cookie = "c".repeat(8192);
    let fields = format!("Cookie: a={cookie}\r\n");
    let answer = format!("HTTP/1.1 200 OK\r\nSet-Cookie: b={cookie}\r\nContent-Length: 0\r\n\r\n");
    let (request, answer) = through(&router, &fields, &answer).await;
    assert_eq!(request.header("cookie"), format!("a={cookie}"));
    assert_eq!(answer.header("set-cookie"), format!("b={cookie}"));
}

/// A session's cookie brings the router's own, which leads the next request to the same instance.
#[tokio::test]
async fn sessions_stay() {
    let router = router().await;
    let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: JSESSIONID=x; Secure\r\nContent-Length: 0\r\n\r\n";
    let backends = [Backend::answering(answer).await, Backend::answering(answer).await];
    for (index, backend) in backends.iter().enumerate() {
        let id = format!("instance-{index}");
        router.register("a.example", backend.address, |registration| {
            // The registration outlives the name only in the call.
            registration.instance_id = Box::leak(id.into_boxed_str());
        });
    }
    let request = |cookie: &str| format!("GET / HTTP/1.1\r\nHost: a.example\r\n{cookie}\r\n");
    let answer = ask_once(router.address, &request("")).await;
    let own = answer
        .headers
        .iter()
        .find(|(_, value)| value.starts_with("__VCAP_ID__="));
    let own = &own.expect("the router's cookie").1;
    assert!(own.ends_with("; Path=/; HttpOnly; Secure"), "{own}");
    let cookie = own.split(';').next().expect("a cookie");
    let first = backends
        .iter()
        .position(|backend| !backend.asked.lock().is_empty())
        .expect("one was asked");
    for count in 2..6 {
        ask_once(router.address, &request(&format!("Cookie: JSESSIONID=x; {cookie}\r\n"))).await;
        assert_eq!(backends[first].asked.lock().len(), count);
    }
}

/// A route, an instance that it has, and one that it has not.
#[tokio::test]
async fn instances_are_found() {
    const APP: &str = "0c8c36d4-fe7e-4d5b-8cb7-2a5e1a2e6f4d";
    let router = router().await;
    let backends = [Backend::answering(OK).await, Backend::answering(OK).await];
    for (index, backend) in backends.iter().enumerate() {
        router.register("a.example", backend.address, |registration| {
            registration.app_id = APP;
            registration.instance_index = ["0", "1"][index];
        });
    }
    let asking = |value: &str| format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-CF-APP-INSTANCE: {value}\r\n\r\n");
    for _ in 0..3 {
        assert_eq!(
            ask_once(router.address, &asking(&format!("{APP}:1"))).await.status(),
            200
        );
    }
    assert_eq!(backends.each_ref().map(|backend| backend.asked.lock().len()), [0, 3]);
    assert!(!backends[1].asked.lock()[0].has("x-cf-app-instance"));
    let answer = ask_once(router.address, &asking(&format!("{APP}:2"))).await;
    assert_eq!(
        (answer.status(), answer.header("x-cf-routererror")),
        (400, "unknown_route")
    );
    assert_eq!(
        answer.text(),
        format!(
            "400 Bad Request: Requested instance ('2') with guid ('{APP}') does not exist for route ('a.example')\n"
        )
    );
    let answer = ask_once(router.address, &asking("x")).await;
    assert_eq!(answer.header("x-cf-routererror"), "invalid_cf_app_instance_header");
}
