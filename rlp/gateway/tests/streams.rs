//! Tests of streams: what clients get and when, exact to the byte, and what is counted.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

#[allow(dead_code, reason = "shared with the other tests")]
mod common;

use std::time::Duration;

use common::{Setup, TOKEN, event_of, lines, millis};
use tokio::io::AsyncWriteExt as _;
use tonic::Status;
use weir_eventually::eventually;
use weir_rlp_gateway::{RawConfig, RawLimits, RawTimeouts};

fn timeouts(change: impl FnOnce(&mut RawTimeouts)) -> RawConfig {
    let mut timeouts = RawTimeouts::default();
    change(&mut timeouts);
    RawConfig {
        timeouts,
        ..RawConfig::default()
    }
}

/// The head and the events are exactly the original's. A message becomes one event, and a large one several.
#[tokio::test]
async fn frames_are_exact() {
    let setup = Setup::start(RawConfig::default()).await;
    let request = format!("Authorization: bearer {TOKEN}\r\nAccept: text/event-stream\r\n");
    let mut client = setup.get("/v2/read?log&source_id=app&shard_id=s", &request).await;
    let head = client.head().await;
    let mut headers: Vec<&str> = head.trim_end().split("\r\n").collect();
    headers.retain(|header| !header.starts_with("date: "));
    assert_eq!(
        headers,
        [
            "HTTP/1.1 200 OK",
            "content-type: text/event-stream",
            "cache-control: no-cache",
            "connection: keep-alive",
            "transfer-encoding: chunked"
        ]
    );
    let subscription = setup.rlp.subscription(1).await;
    let asked = &subscription.request;
    assert!(asked.use_preferred_tags && asked.shard_id == "s" && asked.selectors.len() == 1);
    assert_eq!(asked.selectors[0].source_id, "app");
    subscription.send(lines("app", 0, 2, 5)).await;
    assert_eq!(client.event().await.unwrap(), event_of("app", 0, 2, 5, None));
    subscription.send(lines("app", 2, 205, 8)).await;
    for (first, count) in [(2, 100), (102, 100), (202, 5)] {
        assert_eq!(client.event().await.unwrap(), event_of("app", first, count, 8, None));
    }
    let ledger = setup.ledger();
    eventually("all is settled", || ledger.snapshot().sent == 207).await;
    assert_eq!(ledger.snapshot().in_flight, 0);
    setup.stop().await;
}

/// A silent stream gets heartbeats with the time. At the time limit the stream ends with an event.
#[tokio::test]
async fn heartbeats_and_the_time_limit() {
    let setup = Setup::start(timeouts(|times| {
        times.heartbeat = millis(50);
        times.stream = millis(1000);
    }))
    .await;
    let mut client = setup.stream("log", TOKEN, "").await;
    let beat = client.event().await.unwrap();
    let seconds = beat
        .strip_prefix("event: heartbeat\ndata: ")
        .and_then(|rest| rest.strip_suffix("\n\n"));
    let seconds: i64 = seconds.unwrap().parse().unwrap();
    let now = weir_service::clock::now_nanos() / 1_000_000_000;
    assert!((now - 5..=now).contains(&seconds));
    let last = client.other_event().await.unwrap();
    assert_eq!(last, "event: closing\ndata: closing due to stream timeout\n\n");
    assert_eq!(client.event().await, None);
    // The connection can be used for another request.
    let again = format!("GET /v2/read?log HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\n\r\n");
    client.connection.write_all(again.as_bytes()).await.unwrap();
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    setup.rlp.subscription(2).await.send(lines("app", 0, 1, 1)).await;
    assert_eq!(client.other_event().await.unwrap(), event_of("app", 0, 1, 1, None));
    let ledger = setup.ledger();
    eventually("it is settled", || ledger.snapshot().sent == 1).await;
    setup.stop().await;
}

/// When a client disconnects, its subscription ends, and what it did not get is counted.
#[tokio::test]
async fn a_disconnect_ends_the_subscription() {
    let setup = Setup::start(RawConfig::default()).await;
    let client = setup.stream("log", TOKEN, "").await;
    let subscription = setup.rlp.subscription(1).await;
    assert!(!subscription.is_over());
    drop(client);
    eventually("the subscription ends", || subscription.is_over()).await;
    let ledger = setup.ledger();
    eventually("nobody is subscribed", || ledger.snapshot().subscribers == 0).await;
    setup.stop().await;
}

/// A client that does not read delays only its own stream. Then it is disconnected, and its losses are counted by
/// reason.
#[tokio::test]
async fn slow_clients_are_held_back_and_cut() {
    let setup = Setup::start(timeouts(|times| times.slow_consumer = millis(1500))).await;
    let mut slow = setup.stream("log&source_id=slow", TOKEN, "").await;
    let mut quick = setup.stream("log&source_id=quick", TOKEN, "").await;
    let (of_slow, of_quick) = (setup.rlp.subscription(1).await, setup.rlp.subscription(2).await);
    let mut given = 0;
    let pushing = async {
        // This is far more than all buffers hold.
        while !of_slow.is_over() {
            if of_slow.try_send(lines("slow", given, 100, 10_000)) {
                given += 100;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, pushing)
        .await
        .expect("it is cut");
    assert!(given < 5_000, "{given} were taken from the RLP");
    of_quick.send(lines("quick", 0, 1, 5)).await;
    assert_eq!(quick.event().await.unwrap(), event_of("quick", 0, 1, 5, None));
    // When the client reads again, it finds as many whole events as are counted as sent, and then the end.
    let mut found = 0;
    while let Some(event) = slow.event().await {
        assert!(event.starts_with("data: {\"batch\":["));
        found += event.matches("\"payload\"").count();
    }
    let ledger = setup.ledger();
    eventually("all is settled", || ledger.snapshot().in_flight == 0).await;
    let counts = ledger.snapshot();
    assert_eq!(counts.sent, found as u64 + 1, "{counts:?}");
    assert!(
        counts.dropped.iter().all(|drop| drop.reason == "slow_consumer"),
        "{counts:?}"
    );
    // What was in the buffers of the gateway is counted, but not what the RLP still has.
    assert!(counts.received + 400 >= given as u64, "{given}: {counts:?}");
    setup.stop().await;
}

/// If the RLP refuses the subscription, the response says so. If it disappears, the stream waits for it. If it stays
/// absent, the stream ends with an event.
#[tokio::test]
async fn failures_of_the_provider() {
    let mut setup = Setup::start(timeouts(|times| times.provider = millis(4000))).await;
    let unavailable = "{\"message\":\"streaming is temporarily unavailable\",\"error\":\"streaming_unavailable\"}\n\n";
    setup
        .rlp
        .refuse(Some(Status::resource_exhausted("unable to create stream")));
    let answer = setup
        .get(
            "/v2/read?log",
            &format!("Authorization: {TOKEN}\r\nConnection: close\r\n"),
        )
        .await
        .rest()
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with(unavailable),
        "{answer}"
    );
    setup.rlp.refuse(None);

    let mut client = setup.stream("log", TOKEN, "").await;
    setup.rlp.subscription(1).await.send(lines("app", 0, 1, 1)).await;
    assert_eq!(client.event().await.unwrap(), event_of("app", 0, 1, 1, None));
    // The RLP ends the stream in order, then with an error, and then it restarts. The client notices nothing.
    setup
        .rlp
        .subscription(1)
        .await
        .fail(Status::unavailable("going down"))
        .await;
    setup.rlp.subscription(2).await.send(lines("app", 1, 1, 1)).await;
    assert_eq!(client.event().await.unwrap(), event_of("app", 1, 1, 1, None));
    setup.restart_rlp();
    setup.rlp.subscription(1).await.send(lines("app", 2, 1, 1)).await;
    assert_eq!(client.event().await.unwrap(), event_of("app", 2, 1, 1, None));

    // Messages of the RLP and the transport contain internal details, which clients must not see.
    setup.rlp.refuse(Some(Status::unavailable(
        "no doppler at 10.0.16.7:8082: connection refused",
    )));
    setup.rlp.subscription(1).await.fail(Status::internal("broken")).await;
    let last = client.other_event().await.unwrap();
    assert_eq!(
        last,
        "event: error\ndata: {\"message\":\"the logs provider does not deliver\",\
         \"error\":\"streaming_unavailable\"}\n\n"
    );
    assert_eq!(client.event().await, None);

    // A permanent refusal ends the stream at once.
    setup.rlp.refuse(None);
    let mut client = setup.stream("log", TOKEN, "").await;
    setup
        .rlp
        .subscription(2)
        .await
        .fail(Status::invalid_argument("Selectors cannot be empty"))
        .await;
    assert_eq!(
        client.event().await.unwrap(),
        "event: error\ndata: {\"message\":\"the logs provider refuses this stream\",\"error\":\"streaming_unavailable\"}\n\n"
    );
    assert_eq!(client.event().await, None);
    setup.stop().await;
}

/// If all places are taken the answer is 503, and if one caller has too many streams it is 429. A place that is free
/// can be used.
#[tokio::test]
async fn streams_are_limited() {
    let setup = Setup::start(RawConfig {
        limits: RawLimits {
            streams: 3,
            streams_per_caller: 2,
            ..RawLimits::default()
        },
        ..RawConfig::default()
    })
    .await;
    let status = async |token: &str| {
        let headers = format!("Authorization: {token}\r\n");
        let mut client = setup.get("/v2/read?log&source_id=a", &headers).await;
        let head = client.head().await;
        (head[9..12].to_owned(), client)
    };
    let dev = setup.token("dev", &["logs.read.a"]);
    let other_token_of_dev = setup.token("dev", &["logs.read.a", "openid"]);
    let (first, one) = status(&dev).await;
    let (second, _two) = status(&other_token_of_dev).await;
    assert_eq!((first.as_str(), second.as_str()), ("200", "200"));
    assert_eq!(status(&dev).await.0, "429");
    let (third, _three) = status(TOKEN).await;
    assert_eq!(third, "200");
    assert_eq!(status(TOKEN).await.0, "503");
    drop(one);
    let ledger = setup.ledger();
    eventually("a place is free", || ledger.snapshot().subscribers == 2).await;
    assert_eq!(status(&dev).await.0, "200");
    setup.stop().await;
}

/// The selectors in all streams of one caller are limited, and other callers are not affected.
#[tokio::test]
async fn selectors_of_one_caller_are_limited() {
    let setup = Setup::start(RawConfig {
        limits: RawLimits {
            selectors: 4,
            selectors_per_caller: 6,
            ..RawLimits::default()
        },
        ..RawConfig::default()
    })
    .await;
    let scopes = ["logs.read.a", "logs.read.b"];
    let (dev, other) = (setup.token("dev", &scopes), setup.token("other", &scopes));
    let open = async |token: &str, query: &str| {
        let headers = format!("Authorization: {token}\r\n");
        let mut client = setup.get(&format!("/v2/read?{query}"), &headers).await;
        let head = client.head().await;
        (head[9..12].to_owned(), head, client)
    };
    let four = "source_id=a&source_id=b&counter.name=x&counter.name=y";
    let (first, _, client) = open(&dev, four).await;
    assert_eq!(first, "200");
    let (second, head, refused) = open(&dev, "source_id=a&counter.name=x&counter.name=y&log").await;
    assert_eq!(second, "429");
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    drop(refused);
    let headers = format!("Authorization: {dev}\r\nConnection: close\r\n");
    let answer = setup.get(&format!("/v2/read?{four}"), &headers).await.rest().await;
    let body = "{\"message\":\"the streams of this user or client ask for too many sources, types and names together\",\
                \"error\":\"too_many_selectors\"}\n\n";
    assert!(answer.ends_with(body), "{answer}");
    let (third, _, _two) = open(&dev, "source_id=a&log&counter").await;
    let (fourth, _, _four) = open(&other, four).await;
    assert_eq!((third.as_str(), fourth.as_str()), ("200", "200"));
    drop(client);
    let ledger = setup.ledger();
    eventually("they are given back", || ledger.snapshot().subscribers == 2).await;
    assert_eq!(open(&dev, four).await.0, "200");
    setup.stop().await;
}

/// When the gateway stops, each stream gets what has arrived, says why it ends, and ends.
#[tokio::test]
async fn stopping_ends_streams_in_order() {
    let setup = Setup::start(RawConfig::default()).await;
    let mut clients = Vec::new();
    for number in 1..=3 {
        clients.push(setup.stream("log", TOKEN, "").await);
        setup.rlp.subscription(number).await.send(lines("app", 0, 3, 3)).await;
    }
    for client in &mut clients {
        assert_eq!(client.event().await.unwrap(), event_of("app", 0, 3, 3, None));
    }
    // Four messages that are in flight when the gateway is told to stop.
    let first = setup.rlp.subscription(1).await;
    for number in 0..4 {
        first.send(lines("late", number * 100, 100, 1_000)).await;
    }
    let stopping = tokio::spawn(setup.stop());
    let mut late = 0;
    for mut client in clients {
        let mut event = client.event().await.unwrap();
        while event.starts_with("data: ") {
            assert_eq!(event, event_of("late", late * 100, 100, 1_000, None));
            late += 1;
            event = client.event().await.unwrap();
        }
        assert_eq!(event, "event: closing\ndata: closing due to shutdown\n\n");
        assert_eq!(client.event().await, None);
        assert_eq!(client.rest().await, "");
    }
    stopping.await.unwrap();
}
