//! What clients may not do, and that others are served meanwhile.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_config::{ByteSize, Duration};

use crate::backend::{Backend, OK, until_closed};
use crate::client::{ask, ask_once, connect, get, read_head};
use crate::harness::{router_with, soon};

/// A head that is too large is told so, with a route and without; the connection of a route's request serves on.
#[tokio::test]
async fn large_heads_are_refused() {
    let router = router_with(|raw| raw.limits.request_head = ByteSize::kib(8)).await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\nX-Large: {}\r\n\r\n",
        "x".repeat(8192)
    );
    let mut client = connect(router.address).await;
    let answer = ask(&mut client, &large).await;
    assert_eq!(answer.line, "HTTP/1.1 431 Request Header Fields Too Large");
    assert_eq!(answer.header("x-cf-routererror"), "max-request-size-exceeded");
    assert_eq!(ask(&mut client, &get("a.example")).await.status(), 200);
    let bomb = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Large: {}", "x".repeat(1 << 20));
    let mut client = connect(router.address).await;
    // The router may end the connection before all is written.
    client.write_all(bomb.as_bytes()).await.ok();
    until_closed(&mut client).await;
    assert_eq!(backend.asked.lock().len(), 1);
}

/// A head that never ends is cut, byte by byte or not at all; a client that says nothing may stay as long as it may.
#[tokio::test]
async fn slow_heads_are_cut() {
    let router = router_with(|raw| raw.timeouts.head = Duration::from_millis(100)).await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let mut idle = connect(router.address).await;
    let mut slow = connect(router.address).await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.expect("written");
    let mut read = [0; 1];
    assert_eq!(soon(slow.read(&mut read)).await.unwrap_or(0), 0);
    assert_eq!(ask(&mut idle, &get("a.example")).await.status(), 200);
}

/// A body that was announced and does not come ends its request; the backend is let go.
#[tokio::test]
async fn slow_bodies_are_cut() {
    let router = router_with(|raw| raw.timeouts.stalled = Duration::from_millis(100)).await;
    let backend = Backend::custom(|mut stream, _, _| async move {
        read_head(&mut stream).await.expect("a head");
        until_closed(&mut stream).await;
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nbody";
    client.write_all(head.as_bytes()).await.expect("written");
    soon(until_closed(&mut client)).await;
}

/// A backend that takes its time is not the client's fault.
#[tokio::test]
async fn slow_backends_are_waited_for() {
    let router = router_with(|raw| {
        raw.timeouts.stalled = Duration::from_millis(50);
        raw.timeouts.head = Duration::from_millis(50);
        raw.timeouts.idle = Duration::from_millis(50);
    })
    .await;
    let backend = Backend::custom(|mut stream, _, _| async move {
        read_head(&mut stream).await.expect("a head");
        // The time is what is tested: several looks of the router at its connections.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        stream.write_all(OK.as_bytes()).await.expect("written");
    })
    .await;
    router.route("a.example", backend.address);
    assert_eq!(ask_once(router.address, &get("a.example")).await.text(), "ok");
}

/// A client that asks nothing any more is let go.
#[tokio::test]
async fn idle_clients_are_let_go() {
    let router = router_with(|raw| raw.timeouts.idle = Duration::from_millis(100)).await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    assert_eq!(ask(&mut client, &get("a.example")).await.status(), 200);
    soon(until_closed(&mut client)).await;
}

/// A crowd of connections from one address: a newcomer still finds a place.
#[tokio::test]
async fn a_crowd_makes_room() {
    let router = router_with(|raw| raw.limits.connections = 4).await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(connect(router.address).await);
    }
    assert_eq!(ask_once(router.address, &get("a.example")).await.status(), 200);
}
