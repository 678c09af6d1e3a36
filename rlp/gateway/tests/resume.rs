//! Tests of clients that resume their streams.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

#[allow(dead_code, reason = "shared with the other tests")]
mod common;

use common::{Client, Setup, TOKEN, event_of, lines, millis};
use weir_auth::revocation::Revoked;
use weir_eventually::eventually;
use weir_rlp_gateway::{RawConfig, RawResume, RawTimeouts};

const GAP: &str = "event: gap\ndata: {\"message\":\"this id is not known any more: what came since then is lost, the \
                   stream begins anew\"}\n\n";

/// Returns the session in the id of an event.
fn session(event: &str) -> String {
    let id = event.rsplit_once("\nid: ").unwrap().1.trim_end();
    id.rsplit_once('.').unwrap().0.to_owned()
}

/// A client that resumes gets what arrived in the meantime, once, in order and with its numbers.
#[tokio::test]
async fn a_resumed_stream_misses_nothing() {
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
    // The client got the second event and did not record it.
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
    // The client resumes on a second connection before the first one is known to be lost.
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

/// An id that is unknown, of another caller, or of another query starts a new stream, and the client is told.
#[tokio::test]
async fn foreign_ids_start_a_new_stream() {
    let setup = Setup::start(RawConfig::default()).await;
    let owner = setup.token("owner", &["logs.read.app"]);
    let other = setup.token("other", &["logs.read.app"]);
    let mut client = setup.stream("log&source_id=app", &owner, "Last-Event-ID:\r\n").await;
    setup.rlp.subscription(1).await.send(lines("app", 1, 1, 3)).await;
    let session = session(&client.event().await.unwrap());
    let id = format!("{session}.0");
    let mut clients = Vec::new();
    for (token, query, id) in [
        (&other, "log&source_id=app", id.as_str()),
        (&owner, "log&event&source_id=app", &id),
        (&owner, "log&source_id=app", "1700000000"),
        (&owner, "log&source_id=app", "AAAAAAAAAAAAAAAAAAAAAA.1"),
    ] {
        let mut client = setup.stream(query, token, &format!("Last-Event-ID: {id}\r\n")).await;
        assert_eq!(client.event().await.unwrap(), GAP, "{id}");
        clients.push(client);
    }
    assert_eq!(setup.rlp.count(), 5);
    setup.rlp.subscription(2).await.send(lines("app", 9, 1, 3)).await;
    assert!(clients[0].event().await.unwrap().contains("\nid: "));
    // The owner's stream is not affected, and another token of the owner is accepted.
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

/// A stream that reaches its time limit says so. A client that resumes it, any number of times, misses nothing.
#[tokio::test]
async fn the_end_of_time_loses_nothing() {
    let setup = Setup::start(RawConfig {
        timeouts: RawTimeouts {
            stream: millis(500),
            ..RawTimeouts::default()
        },
        ..RawConfig::default()
    })
    .await;
    let mut client = setup.stream("log", TOKEN, "Last-Event-ID: \r\n").await;
    let subscription = setup.rlp.subscription(1).await;
    subscription.send(lines("app", 1, 1, 3)).await;
    let session = session(&client.event().await.unwrap());
    for number in 1..=3 {
        assert_eq!(
            client.event().await.unwrap(),
            "event: closing\ndata: closing due to stream timeout\n\n"
        );
        assert_eq!(client.event().await, None);
        subscription.send(lines("app", number + 1, 1, 3)).await;
        let last = format!("Last-Event-ID: {session}.{number}\r\n");
        client = setup.stream("log", TOKEN, &last).await;
        let id = format!("{session}.{}", number + 1);
        assert_eq!(
            client.event().await.unwrap(),
            event_of("app", number + 1, 1, 3, Some(&id))
        );
    }
    assert!(!subscription.is_over() && setup.rlp.count() == 1);
    let ledger = setup.ledger();
    eventually("all are settled, once", || ledger.snapshot().sent == 4).await;
    setup.stop().await;
}

/// A stream whose token expired waits for its caller to resume it with a valid token for the same sources. A stream
/// whose token was revoked does not wait.
#[tokio::test]
async fn expiry_waits_for_a_fresh_token() {
    let setup = Setup::start(RawConfig::default()).await;
    let query = "log&source_id=app";
    let open = async |number: usize, token: &str| {
        let mut client = setup.stream(query, token, "Last-Event-ID: \r\n").await;
        let subscription = setup.rlp.subscription(number).await;
        subscription.send(lines("app", 1, 1, 3)).await;
        let session = session(&client.event().await.unwrap());
        (client, subscription, format!("Last-Event-ID: {session}.1\r\n"), session)
    };
    let ends = async |client: &mut Client, why: &str| {
        let last = client.event().await.unwrap();
        assert_eq!(last, format!("event: closing\ndata: closing because {why}\n\n"));
        assert_eq!(client.event().await, None);
    };
    let mut claims = setup.issuer.claims("dev", &["logs.read.app"]);
    // The token has expired, but the leeway of five seconds is not over.
    claims["exp"] = serde_json::json!(weir_service::clock::now_nanos() / 1_000_000_000 - 2);
    let (mut client, subscription, last, session) = open(1, &setup.issuer.sign(&claims)).await;
    ends(&mut client, "the token has expired").await;
    subscription.send(lines("app", 2, 1, 3)).await;
    // Neither the caller without the right to read nor another caller with it may resume the stream.
    let headers = format!("Authorization: {}\r\n{last}", setup.token("dev", &["logs.read.other"]));
    let mut refused = setup.get(&format!("/v2/read?{query}"), &headers).await;
    assert!(refused.head().await.starts_with("HTTP/1.1 404 "));
    let mut other = setup
        .stream(query, &setup.token("other", &["logs.read.app"]), &last)
        .await;
    assert_eq!(other.event().await.unwrap(), GAP);
    let fresh = setup.issuer.claims("dev", &["logs.read.app"]);
    let mut client = setup.stream(query, &setup.issuer.sign(&fresh), &last).await;
    let id = format!("{session}.2");
    assert_eq!(client.event().await.unwrap(), event_of("app", 2, 1, 3, Some(&id)));
    assert!(!subscription.is_over());
    // From now on the new token counts.
    setup.issuer.revoke(Revoked::Token {
        jti: fresh["jti"].as_str().unwrap().to_owned(),
    });
    ends(&mut client, "the token was revoked").await;
    eventually("the subscription ends", || subscription.is_over()).await;
    let token = setup.token("dev", &["logs.read.app"]);
    let mut again = setup.stream(query, &token, &last).await;
    assert_eq!(again.event().await.unwrap(), GAP);
    setup.stop().await;
}

/// A client that resumes a stream that is just ending gets a new stream and is told so.
#[tokio::test]
async fn ending_streams_accept_no_client() {
    let setup = Setup::start(RawConfig::default()).await;
    let query = "log&source_id=app";
    let claims = setup.issuer.claims("dev", &["logs.read.app"]);
    let token = setup.issuer.sign(&claims);
    let mut client = setup.stream(query, &token, "Last-Event-ID: \r\n").await;
    let subscription = setup.rlp.subscription(1).await;
    subscription.send(lines("app", 1, 1, 3)).await;
    let session = session(&client.event().await.unwrap());
    // The client does not read, so there is no room for the last event, and the end of the stream takes its time.
    let mut stuck = 0;
    while stuck < 200 {
        if subscription.try_send(lines("app", 0, 50, 10_000)) {
            stuck = 0;
        } else {
            stuck += 1;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    let mut witness = setup.stream(query, &token, "").await;
    setup.issuer.revoke(Revoked::Token {
        jti: claims["jti"].as_str().unwrap().to_owned(),
    });
    assert_eq!(
        witness.event().await.unwrap(),
        "event: closing\ndata: closing because the token was revoked\n\n"
    );
    assert!(!subscription.is_over(), "it has ended already");
    let fresh = setup.token("dev", &["logs.read.app"]);
    let mut again = setup
        .stream(query, &fresh, &format!("Last-Event-ID: {session}.1\r\n"))
        .await;
    assert_eq!(again.event().await.as_deref(), Some(GAP));
    setup.rlp.subscription(3).await.send(lines("app", 7, 1, 3)).await;
    assert!(again.event().await.unwrap().contains("\nid: "));
    setup.stop().await;
}

/// A client that stays away too long finds no stream, and what was kept is counted as lost.
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
    let counts = ledger.snapshot();
    assert_eq!((counts.sent, counts.in_flight), (1, 0));
    assert!(
        counts.dropped.iter().all(|drop| drop.reason == "consumer_gone"),
        "{counts:?}"
    );
    setup.stop().await;
}

/// One caller cannot take all sessions. Its further streams have events without ids, and those of other callers have
/// ids.
#[tokio::test]
async fn sessions_are_shared_out() {
    let setup = Setup::start(RawConfig {
        resume: RawResume {
            sessions: 3,
            sessions_per_caller: 2,
            ..RawResume::default()
        },
        ..RawConfig::default()
    })
    .await;
    let (greedy, other) = (
        setup.token("greedy", &["logs.read.app"]),
        setup.token("other", &["logs.read.app"]),
    );
    let mut clients = Vec::new();
    for (number, (token, has_id)) in [(&greedy, true), (&greedy, true), (&greedy, false), (&other, true)]
        .into_iter()
        .enumerate()
    {
        let mut client = setup.stream("log&source_id=app", token, "Last-Event-ID: \r\n").await;
        let subscription = setup.rlp.subscription(number + 1).await;
        subscription.send(lines("app", 1, 1, 3)).await;
        let event = client.event().await.unwrap();
        assert_eq!(event.contains("\nid: "), has_id, "stream {number}: {event}");
        clients.push(client);
    }
    setup.stop().await;
}

/// While its client is away, a stream keeps a bounded amount and takes no more. Sessions are limited, and other streams
/// are not.
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
    // The HTTP/2 windows between the RLP and the gateway hold some messages, which are not counted here.
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
