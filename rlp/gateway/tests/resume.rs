//! Clients that come back for what they missed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

#[allow(dead_code, reason = "shared with the other tests")]
mod common;

use common::{Setup, TOKEN, event_of, eventually, lines, millis};
use weir_rlp_gateway::{RawConfig, RawResume};

/// The session in the id of an event.
fn session(event: &str) -> String {
    let id = event.rsplit_once("\nid: ").unwrap().1.trim_end();
    id.rsplit_once('.').unwrap().0.to_owned()
}

/// What came while the client was away is there when it comes back, once, in order, with its numbers.
#[tokio::test]
async fn nothing_is_missed() {
    let setup = Setup::start(RawConfig::default()).await;
    let mut client = setup.stream("log", TOKEN, "Last-Event-ID: \r\n").await;
    let subscription = setup.rlp.subscription(1).await;
    subscription.send(lines("app", 1, 1, 3)).await;
    let first = client.event().await.unwrap();
    let session = session(&first);
    assert_eq!(first, event_of("app", 1, 1, 3, Some(&format!("{session}.1"))));
    subscription.send(lines("app", 2, 1, 3)).await;
    client.event().await.unwrap();
    drop(client);
    // It got the second one, and could not remember it.
    let ledger = setup.ledger();
    eventually("both are settled", || ledger.snapshot().sent == 2).await;
    for number in 3..=5 {
        subscription.send(lines("app", number, 1, 3)).await;
    }
    let mut client = setup
        .stream("log", TOKEN, &format!("Last-Event-ID: {session}.1\r\n"))
        .await;
    for number in 2..=5 {
        let event = client.event().await.unwrap();
        assert_eq!(
            event,
            event_of("app", number, 1, 3, Some(&format!("{session}.{number}")))
        );
    }
    assert!(!subscription.is_over() && setup.rlp.count() == 1);
    // On a second connection, before the first is seen to be gone.
    let mut again = setup
        .stream("log", TOKEN, &format!("Last-Event-ID: {session}.5\r\n"))
        .await;
    assert_eq!(
        client.event().await.unwrap(),
        "event: closing\ndata: closing because the stream was resumed elsewhere\n\n"
    );
    assert_eq!(client.event().await, None);
    subscription.send(lines("app", 6, 1, 3)).await;
    let event = again.event().await.unwrap();
    assert_eq!(event, event_of("app", 6, 1, 3, Some(&format!("{session}.6"))));
    eventually("all are settled, once", || ledger.snapshot().sent == 6).await;
    setup.stop().await;
}

/// An id that means nothing, of somebody else, or for something else begins a new stream, and says so.
#[tokio::test]
async fn other_ids_begin_anew() {
    let setup = Setup::start(RawConfig::default()).await;
    let owner = setup.token("owner", &["logs.read.app"]);
    let other = setup.token("other", &["logs.read.app"]);
    let mut client = setup.stream("log&source_id=app", &owner, "Last-Event-ID:\r\n").await;
    setup.rlp.subscription(1).await.send(lines("app", 1, 1, 3)).await;
    let session = session(&client.event().await.unwrap());
    let gap = "event: gap\ndata: {\"message\":\"this id is not known any more: what came since then is lost, the stream \
               begins anew\"}\n\n";
    let id = format!("{session}.0");
    let mut clients = Vec::new();
    for (token, query, id) in [
        (&other, "log&source_id=app", id.as_str()),
        (&owner, "log&event&source_id=app", &id),
        (&owner, "log&source_id=app", "1700000000"),
        (&owner, "log&source_id=app", "AAAAAAAAAAAAAAAAAAAAAA.1"),
    ] {
        let mut client = setup.stream(query, token, &format!("Last-Event-ID: {id}\r\n")).await;
        assert_eq!(client.event().await.unwrap(), gap, "{id}");
        clients.push(client);
    }
    assert_eq!(setup.rlp.count(), 5);
    setup.rlp.subscription(2).await.send(lines("app", 9, 1, 3)).await;
    assert!(clients[0].event().await.unwrap().contains("\nid: "));
    // The owner's stream was not disturbed, and a new token of the owner is the owner.
    let token = setup.token("owner", &["logs.read.app"]);
    let mut again = setup
        .stream("log&source_id=app", &token, &format!("Last-Event-ID: {id}\r\n"))
        .await;
    assert_eq!(
        again.event().await.unwrap(),
        event_of("app", 1, 1, 3, Some(&format!("{session}.1")))
    );
    setup.stop().await;
}

/// Who stays away too long finds nothing; what was kept is counted as lost.
#[tokio::test]
async fn waiting_ends() {
    let setup = Setup::start(RawConfig {
        resume: RawResume {
            window: millis(300),
            ..RawResume::default()
        },
        ..RawConfig::default()
    })
    .await;
    let mut client = setup.stream("log", TOKEN, "Last-Event-ID: \r\n").await;
    let subscription = setup.rlp.subscription(1).await;
    subscription.send(lines("app", 1, 1, 3)).await;
    client.event().await.unwrap();
    drop(client);
    let ledger = setup.ledger();
    eventually("it is settled", || ledger.snapshot().sent == 1).await;
    subscription.send(lines("app", 2, 3, 3)).await;
    eventually("the subscription ends", || subscription.is_over()).await;
    eventually("nobody is subscribed", || ledger.snapshot().subscribers == 0).await;
    let books = ledger.snapshot();
    assert_eq!((books.sent, books.in_flight), (1, 0));
    assert!(
        books.dropped.iter().all(|drop| drop.reason == "consumer_gone"),
        "{books:?}"
    );
    setup.stop().await;
}

/// While its client is away a stream keeps so much and takes no more; sessions are limited, streams without one are not.
#[tokio::test]
async fn keeping_is_bounded() {
    let setup = Setup::start(RawConfig {
        resume: RawResume {
            sessions: 1,
            bytes: weir_config::ByteSize::kib(512),
            ..RawResume::default()
        },
        ..RawConfig::default()
    })
    .await;
    let mut client = setup.stream("log", TOKEN, "Last-Event-ID: \r\n").await;
    let subscription = setup.rlp.subscription(1).await;
    subscription.send(lines("app", 0, 1, 3)).await;
    let session = session(&client.event().await.unwrap());
    let mut second = setup.stream("log", TOKEN, "Last-Event-ID: \r\n").await;
    setup.rlp.subscription(2).await.send(lines("app", 0, 1, 3)).await;
    assert_eq!(second.event().await.unwrap(), event_of("app", 0, 1, 3, None));
    drop(client);
    let (mut given, mut stuck) = (0, 0);
    while stuck < 200 {
        if subscription.try_send(lines("app", given, 50, 10_000)) {
            (given, stuck) = (given + 50, 0);
        } else {
            stuck += 1;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    // HTTP/2's windows lie between us; what is in them is not ours.
    assert!(given < 2_000, "{given}");
    let held = setup.ledger().snapshot().in_flight;
    assert!(held * 10_000 < 2 << 20, "{held}");
    let mut client = setup
        .stream("log", TOKEN, &format!("Last-Event-ID: {session}.1\r\n"))
        .await;
    let mut seen = 0;
    while seen < given {
        let event = client.event().await.unwrap();
        assert!(event.starts_with("data: "), "{event}");
        seen += event.matches("\"payload\"").count();
    }
    assert_eq!(seen, given);
    setup.stop().await;
}
