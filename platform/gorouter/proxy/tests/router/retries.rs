//! Backends that fail, and what becomes of their requests.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::backend::{Backend, OK, nobody, until_closed};
use crate::client::{ask, ask_once, connect, get, read_head, read_message};
use crate::harness::{router, router_with};

/// A backend that is not there costs nothing where another one is.
#[tokio::test]
async fn another_backend_is_tried() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", nobody().await);
    router.route("a.example", backend.address);
    for _ in 0..4 {
        let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody";
        let answer = ask_once(router.address, request).await;
        assert_eq!(answer.status(), 200);
    }
    assert!(backend.asked.lock().iter().all(|request| request.text() == "body"));
}

/// Nobody is there: the status and the reason.
#[tokio::test]
async fn a_dead_backend_is_told() {
    let router = router().await;
    let address = nobody().await;
    router.route("a.example", address);
    let answer = ask_once(router.address, &get("a.example")).await;
    assert_eq!(answer.line, "HTTP/1.1 502 Bad Gateway");
    assert_eq!(
        answer.header("x-cf-routererror"),
        format!("endpoint_failure (dial tcp {address}: connect: connection refused)")
    );
    assert_eq!(
        answer.text(),
        "502 Bad Gateway: Registered endpoint failed to handle the request.\n"
    );
}

/// A backend that ends the connection instead of answering: a request that may be sent twice is tried elsewhere.
#[tokio::test]
async fn an_idempotent_request_is_tried_again() {
    let router = router().await;
    let silent = Backend::custom(|mut stream, _, _| async move {
        read_head(&mut stream).await;
    })
    .await;
    let good = Backend::answering(OK).await;
    router.route("a.example", silent.address);
    router.route("a.example", good.address);
    for _ in 0..4 {
        assert_eq!(ask_once(router.address, &get("a.example")).await.status(), 200);
    }
    assert!(silent.connected() > 0);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n";
        statuses.push(ask_once(router.address, request).await.status());
    }
    assert!(
        statuses.contains(&502),
        "a request that may have been done is not repeated: {statuses:?}"
    );
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nIdempotency-Key: 1\r\nContent-Length: 0\r\n\r\n";
    for _ in 0..4 {
        assert_eq!(ask_once(router.address, request).await.status(), 200);
    }
}

/// A backend that ends idle connections: no request notices, whether it may be sent twice or not.
#[tokio::test]
async fn ended_idle_connections_are_not_used() {
    let router = router().await;
    let backend = Backend::custom(|mut stream, _, _| async move {
        if read_message(&mut stream).await.is_some() {
            stream.write_all(OK.as_bytes()).await.expect("written");
        }
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    for count in 1..10 {
        let body = if count % 2 == 0 { "POST" } else { "GET" };
        let request = format!("{body} / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n");
        let answer = ask(&mut client, &request).await;
        assert_eq!(answer.status(), 200, "{count}");
        assert_eq!(backend.connected(), count);
    }
}

/// A kept connection that ends just when a request is written: one that may be sent twice is, at the same backend.
#[tokio::test]
async fn a_connection_that_ends_under_a_request_is_replaced() {
    let router = router().await;
    let backend = Backend::custom(|mut stream, number, _| async move {
        read_message(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.expect("written");
        // The first connection reads the second request, and ends.
        if read_head(&mut stream).await.is_some() && number > 0 {
            stream.write_all(OK.as_bytes()).await.expect("written");
            until_closed(&mut stream).await;
        }
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    for _ in 0..2 {
        assert_eq!(ask(&mut client, &get("a.example")).await.status(), 200);
    }
    assert_eq!(backend.connected(), 2);
}

/// What is no HTTP is told as a failure of the backend.
#[tokio::test]
async fn garbage_is_told() {
    let router = router().await;
    let backend = Backend::answering("ICY 200 OK\r\n\r\n").await;
    router.route("a.example", backend.address);
    let answer = ask_once(router.address, &get("a.example")).await;
    assert_eq!(answer.status(), 502);
    assert!(answer.header("x-cf-routererror").starts_with("endpoint_failure ("));
}

/// A backend that never answers is given up in time.
#[tokio::test]
async fn a_hanging_backend_is_given_up() {
    let router = router_with(|raw| raw.timeouts.request = weir_config::Duration::from_millis(200)).await;
    let backend = Backend::custom(|mut stream, _, _| async move { until_closed(&mut stream).await }).await;
    router.route("a.example", backend.address);
    let answer = ask_once(router.address, &get("a.example")).await;
    assert_eq!(answer.status(), 502);
    assert_eq!(
        answer.header("x-cf-routererror"),
        "endpoint_failure (context deadline exceeded)"
    );
}

/// A backend with as many requests as it may have gets no other one.
#[tokio::test]
async fn full_backends_are_told() {
    let router = router_with(|raw| raw.backends.max_conns = 1).await;
    let backend = Backend::custom(|mut stream, _, _| async move {
        read_head(&mut stream).await;
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok();
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    client.write_all(get("a.example").as_bytes()).await.expect("written");
    weir_eventually::eventually("the backend is asked", || backend.connected() == 1).await;
    let answer = ask_once(router.address, &get("a.example")).await;
    assert_eq!(
        (answer.status(), answer.header("x-cf-routererror")),
        (503, "Connection Limit Reached")
    );
    assert_eq!(
        answer.text(),
        "503 Service Unavailable: Requested route ('a.example') has reached the connection limit.\n"
    );
}

/// A backend with TLS that is gone loses its route; the next request is told that there is none.
#[tokio::test]
async fn a_dead_tls_backend_loses_its_route() {
    let router = router().await;
    router.register("a.example", nobody().await, |registration| registration.tls = true);
    assert_eq!(ask_once(router.address, &get("a.example")).await.status(), 502);
    let answer = ask_once(router.address, &get("a.example")).await;
    assert_eq!(
        (answer.status(), answer.header("x-cf-routererror")),
        (503, "no_endpoints")
    );
}
