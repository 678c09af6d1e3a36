//! Several instances over one database.

use serde_json::json;
use tokio::net::TcpStream;
use weir_eventually::eventually_async;

use crate::common::Deployment;
use crate::events::Stream;

/// One instance serves and the other one does not listen; it takes over when the first one stops, with all routes.
pub(crate) async fn another_instance_takes_over(deployment: &Deployment) {
    let first = deployment.start_with(|raw| raw.lock.instance = "a".to_owned()).await;
    let port = free_port();
    let second = deployment
        .start_with(|raw| {
            raw.lock.instance = "b".to_owned();
            raw.listen = format!("127.0.0.1:{port}").parse().unwrap();
        })
        .await;
    assert!(first.is_active && !second.is_active);
    assert!(TcpStream::connect(second.address).await.is_err());
    let route = json!({"route": "a.example", "port": 1, "ip": "1.2.3.4"});
    first.post("/routes", &json!([route])).await.done(201);
    first.stop().await;
    eventually_async("the port is open", async || {
        TcpStream::connect(second.address).await.is_ok()
    })
    .await;
    assert_eq!(second.get("/routes").await.json()[0]["route"], "a.example");
    second.stop().await;
}

/// With a handover an instance that stops serves on until another one has the lock.
#[tokio::test]
async fn an_instance_hands_over() {
    let deployment = Deployment::on_sqlite().await;
    let first = deployment
        .start_with(|raw| {
            raw.lock.instance = "a".to_owned();
            raw.lock.handover = weir_config::Duration::from_secs(60);
        })
        .await;
    let mut stream = Stream::open(&first, "/events").await;
    first.begin_to_stop();
    let route = json!({"route": "a.example", "port": 1, "ip": "1.2.3.4"});
    first.post("/routes", &json!([route])).await.done(201);
    assert_eq!(stream.next().await.unwrap().1, "Upsert");
    let second = deployment.start_with(|raw| raw.lock.instance = "b".to_owned()).await;
    assert_eq!(stream.next().await, None);
    first.stop().await;
    second.stop().await;
}

/// An instance whose lock another one takes ends its streams and does not listen any more.
#[tokio::test]
async fn a_lost_lock_ends_the_turn() {
    let deployment = Deployment::on_sqlite().await;
    let short = |raw: &mut weir_platform_routing_api::RawConfig| {
        raw.lock.ttl = weir_config::Duration::from_secs(1);
    };
    let first = deployment.start_with(short).await;
    let mut stream = Stream::open(&first, "/events").await;
    // An instance of this name was started elsewhere: it counts as the next life of this one.
    let second = deployment.start_with(short).await;
    assert!(second.is_active);
    assert_eq!(stream.next().await, None);
    eventually_async("the port is closed", async || {
        TcpStream::connect(first.address).await.is_err()
    })
    .await;
    second.stop().await;
    // It gets its turn again.
    eventually_async("the port is open", async || {
        TcpStream::connect(first.address).await.is_ok()
    })
    .await;
    first.stop().await;
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
