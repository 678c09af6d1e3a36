//! What operators and load balancers see, and how a router ends.

use tokio::io::AsyncWriteExt as _;
use weir_config::{Duration, Secret};

use crate::backend::{Backend, OK, until_closed};
use crate::client::{ask_once, connect, get, read_body, read_head};
use crate::harness::{router, router_with, soon};

/// A load balancer asks on the port of requests, by its user agent, and on the status port.
#[tokio::test]
async fn health_is_told() {
    let router = router_with(|raw| raw.status = Some("127.0.0.1:0".parse().expect("an address"))).await;
    let request = "GET / HTTP/1.1\r\nHost: any\r\nUser-Agent: HTTP-Monitor/1.1\r\n\r\n";
    weir_eventually::eventually_async("the router is healthy", async || {
        ask_once(router.address, request).await.status() == 200
    })
    .await;
    let answer = ask_once(router.address, request).await;
    assert_eq!(
        (answer.text(), answer.header("cache-control")),
        ("ok\n", "private, max-age=0")
    );
    let status = router.status_address.expect("a port");
    let answer = ask_once(status, &"GET /health HTTP/1.1\r\nHost: x\r\n\r\n".replace('x', "any")).await;
    assert_eq!(
        (answer.status(), answer.text(), answer.header("connection")),
        (200, "ok\n", "close")
    );
    let answer = ask_once(status, "GET /routes HTTP/1.1\r\nHost: any\r\n\r\n").await;
    assert_eq!(answer.status(), 404);
}

/// The table, for whoever has the password.
#[tokio::test]
async fn routes_are_shown() {
    let router = router_with(|raw| {
        raw.routes = Some("127.0.0.1:0".parse().expect("an address"));
        raw.routes_user = "user".to_owned();
        raw.routes_password = Secret::new("pass".to_owned());
    })
    .await;
    router.register(
        "a.example/path",
        "10.0.0.1:8080".parse().expect("an address"),
        |registration| {
            registration.instance_id = "instance-1";
            registration.availability_zone = "z1";
        },
    );
    let address = router.routes_address.expect("a port");
    let asking = |authorization: &str| format!("GET /routes HTTP/1.1\r\nHost: any\r\n{authorization}\r\n");
    assert_eq!(ask_once(address, &asking("")).await.status(), 401);
    assert_eq!(
        ask_once(address, &asking("Authorization: Basic dXNlcjpwYXNz0\r\n"))
            .await
            .status(),
        401
    );
    let answer = ask_once(address, &asking("Authorization: Basic dXNlcjpwYXNz\r\n")).await;
    let shown: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let expected = serde_json::json!({"a.example/path": [{
        "address": "10.0.0.1:8080", "availability_zone": "z1", "protocol": "http1", "tls": false, "ttl": 120, "tags": {},
        "private_instance_id": "instance-1", "load_balancing_algorithm": "round-robin",
    }]});
    assert_eq!(shown, expected);
}

/// A router that stops finishes what is under way, lets idle clients go and takes no new ones.
#[tokio::test]
async fn requests_under_way_are_finished() {
    let router = router_with(|raw| raw.timeouts.drain = Duration::from_secs(60)).await;
    let (answer, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = std::sync::Arc::new(tokio::sync::Mutex::new(Some(wait)));
    let backend = Backend::custom(move |mut stream, _, _| {
        let wait = std::sync::Arc::clone(&wait);
        async move {
            read_head(&mut stream).await.expect("a head");
            let wait = wait.lock().await.take().expect("once");
            wait.await.expect("told");
            stream.write_all(OK.as_bytes()).await.expect("written");
            until_closed(&mut stream).await;
        }
    })
    .await;
    router.route("a.example", backend.address);
    let mut idle = connect(router.address).await;
    let mut client = connect(router.address).await;
    client.write_all(get("a.example").as_bytes()).await.expect("written");
    weir_eventually::eventually("the backend is asked", || backend.connected() == 1).await;
    router.stop.fire();
    soon(until_closed(&mut idle)).await;
    weir_eventually::eventually_async("the port is closed", async || {
        tokio::net::TcpStream::connect(router.address).await.is_err()
    })
    .await;
    answer.send(()).expect("awaited");
    let mut response = read_head(&mut client).await.expect("an answer");
    read_body(&mut client, &mut response).await;
    assert_eq!(response.text(), "ok");
    router.ended().await;
}

/// Nothing is under way: a router ends at once.
#[tokio::test]
async fn an_idle_router_ends() {
    let router = router().await;
    router.stop.fire();
    router.ended().await;
}

/// A router that shall end at once does not wait for what is under way.
#[tokio::test]
async fn a_router_may_end_at_once() {
    let router = router_with(|raw| raw.timeouts.drain = Duration::from_secs(3600)).await;
    let backend = Backend::custom(|mut stream, _, _| async move { until_closed(&mut stream).await }).await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    client.write_all(get("a.example").as_bytes()).await.expect("written");
    weir_eventually::eventually("the backend is asked", || backend.connected() == 1).await;
    router.stop.fire();
    router.at_once.fire();
    router.ended().await;
}
