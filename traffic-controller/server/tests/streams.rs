//! Tests of the traffic controller in one process, with real clients and a simulated doppler, over TLS.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says so by a panic")]

mod common;

use futures::SinkExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::{self, Message};
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view;
use weir_eventually::eventually;
use weir_traffic_controller_server::{RawConfig, RawLimits, RawTimeouts};

use common::{Controller, Doppler, PATIENCE, Pki, TOKEN, next, number, numbered, v1};

const GUID: &str = "11111111-2222-3333-4444-555555555555";
const OTHER: &str = "99999999-2222-3333-4444-555555555555";

fn millis(millis: u64) -> weir_config::Duration {
    weir_config::Duration::from_millis(millis)
}

/// Returns one envelope of each type for `source_id`.
fn everything(source_id: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    let mut push = |write: &dyn Fn(&mut Writer<'_>)| {
        builder.push_with(|out| {
            let mut writer = Writer::new(out);
            writer
                .timestamp(1)
                .source_id(source_id)
                .instance_id("2")
                .tag("origin", "rep");
            write(&mut writer);
        });
    };
    push(&|writer| {
        writer
            .tag("source_type", "APP/PROC/WEB")
            .log(b"hello", view::Stream::Out);
    });
    push(&|writer| {
        writer.counter("requests", 1, 2);
    });
    push(&|writer| {
        writer.gauge(&[("a", "ms", 1.0), ("b", "ms", 2.0)]);
    });
    push(&|writer| {
        let bytes = |name| (name, "bytes", 1.0);
        writer.gauge(&[
            ("cpu", "percentage", 0.5),
            bytes("memory"),
            bytes("disk"),
            bytes("memory_quota"),
            bytes("disk_quota"),
        ]);
    });
    push(&|writer| {
        writer
            .tag("request_id", "00000000-0000-0000-0000-000000000001")
            .tag("peer_type", "Server")
            .tag("method", "GET")
            .tag("uri", "/")
            .tag("status_code", "200")
            .timer("http", 1, 2);
    });
    push(&|writer| {
        writer.event("title", "body");
    });
    builder.finish()
}

async fn event_types(client: &mut common::Client, count: usize) -> Vec<i32> {
    let mut types = Vec::new();
    for _ in 0..count {
        types.push(v1(&next(client).await).unwrap().event_type);
    }
    types
}

/// The envelopes that a firehose, its two filters and an app stream carry, and the selectors for which each asks.
#[tokio::test]
async fn each_stream_carries_its_envelopes() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let controller = Controller::start(&pki, &[doppler.address], RawConfig::default()).await;
    let mut all = controller.stream("/firehose/nozzle%201").await;
    doppler.subscriptions(1).await;
    let mut logs = controller.stream("/firehose/n?filter-type=logs").await;
    doppler.subscriptions(2).await;
    let mut metrics = controller.stream("/firehose/n?filter-type=metrics").await;
    doppler.subscriptions(3).await;
    let mut app = controller.stream(&format!("/apps/{GUID}/stream")).await;
    let subscriptions = doppler.subscriptions(4).await;
    let shards: Vec<_> = subscriptions
        .iter()
        .map(|subscription| subscription.request.shard_id.as_str())
        .collect();
    assert_eq!(shards, ["nozzle 1", "n", "n", ""]);

    doppler.publish(&everything(GUID));
    doppler.publish(&everything(OTHER));
    // HttpStartStop 4, LogMessage 5, ValueMetric 6, CounterEvent 7, ContainerMetric 9
    let once = [5, 7, 6, 6, 9, 4];
    assert_eq!(event_types(&mut all, 12).await, [once, once].concat());
    assert_eq!(event_types(&mut logs, 2).await, [5, 5]);
    assert_eq!(event_types(&mut metrics, 10).await, [7, 6, 6, 9, 4, 7, 6, 6, 9, 4]);
    assert_eq!(event_types(&mut app, 3).await, [5, 9, 4]);
    doppler.publish(&numbered(GUID, 7, 1, 10));
    let message = next(&mut app).await;
    let log = v1(&message).unwrap().log_message.unwrap();
    assert_eq!((log.app_id.as_deref(), number(&message)), (Some(GUID), Some(7)));
    let counts = controller.ledger();
    eventually("everything is booked", || {
        let counts = counts.snapshot();
        counts.received == counts.sent && counts.subscribers == 4
    })
    .await;
}

/// A receipt is released when its envelopes are in the clients' sockets.
#[tokio::test]
async fn envelopes_are_acknowledged_when_they_are_written() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let controller = Controller::start(&pki, &[doppler.address], RawConfig::default()).await;
    let mut client = controller.stream("/firehose/n").await;
    doppler.subscriptions(1).await;
    doppler.publish(&numbered("app", 0, 1000, 20));
    for expected in 0..1000 {
        assert_eq!(number(&next(&mut client).await), Some(expected));
    }
    let counts = doppler.ledger();
    eventually("all acknowledged", || {
        counts.snapshot().sent == 1000 && counts.snapshot().in_flight == 0
    })
    .await;
    client.close(None).await.unwrap();
    let ours = controller.stop().await.snapshot();
    assert_eq!(
        (ours.received, ours.sent, ours.dropped_total(), ours.subscribers),
        (1000, 1000, 0, 0)
    );
    assert_eq!(counts.snapshot().dropped_total(), 0);
}

fn handshake(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// The status, the authentication header and the body of every refusal (logging §11).
#[tokio::test]
async fn refusals() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let controller = Controller::start(&pki, &[doppler.address], RawConfig::default()).await;
    let close = "Connection: close\r\n";
    let right = format!("{close}Authorization: bearer {TOKEN}\r\n");
    let app = format!("/apps/{GUID}/stream");
    let none = "You are not authorized. authorization not provided";
    let invalid = "You are not authorized. invalid authorization";
    for (path, headers, status, basic, body) in [
        ("/firehose/n", close.to_owned(), 401, true, none),
        (
            "/firehose/n",
            format!("{close}Authorization: bearer wrong\r\n"),
            401,
            true,
            invalid,
        ),
        (
            "/firehose/n",
            format!("{close}Cookie: authorization=bearer%20wrong\r\n"),
            401,
            true,
            invalid,
        ),
        (&app, close.to_owned(), 401, true, ""),
        (&app, format!("{close}Authorization: bearer wrong\r\n"), 401, true, ""),
        ("/apps/not-a-guid/stream", right.clone(), 401, false, ""),
        (
            &format!("/apps/{GUID}/recentlogs"),
            right.clone(),
            404,
            false,
            "404 page not found\n",
        ),
        (
            &format!("/apps/{GUID}/containermetrics"),
            right.clone(),
            404,
            false,
            "404 page not found\n",
        ),
        ("/", right.clone(), 404, false, "404 page not found\n"),
    ] {
        let answer = controller.ask(&handshake(path, &headers)).await;
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} {headers}: {answer}"
        );
        assert_eq!(
            head.to_lowercase().contains("www-authenticate: basic"),
            basic,
            "{path} {headers}: {answer}"
        );
        assert_eq!(rest, body, "{path} {headers}");
    }
    // The token is valid, but the request is not a handshake.
    let plain = format!("GET /firehose/n HTTP/1.1\r\nHost: x\r\n{right}\r\n");
    assert!(controller.ask(&plain).await.starts_with("HTTP/1.1 400 "));
    let cookie = format!(
        "POST /set-cookie HTTP/1.1\r\nHost: x\r\nOrigin: https://o\r\n{close}Content-Length: 30\r\n\r\nCookieName=a&CookieValue=b%3Dc"
    );
    let answer = controller.ask(&cookie).await.to_lowercase();
    assert!(
        answer.contains("set-cookie: a=b=c; domain=doppler.sys.example; httponly; secure; samesite=lax"),
        "{answer}"
    );
    let long = format!(
        "POST /set-cookie HTTP/1.1\r\nHost: x\r\n{close}Content-Length: 5000\r\n\r\nCookieName=a&CookieValue={}",
        "b".repeat(4975)
    );
    assert!(controller.ask(&long).await.starts_with("HTTP/1.1 400 "));
}

/// A token in a cookie opens a stream like one in the header, with its prefix in any case.
#[tokio::test]
async fn tokens_are_taken_from_header_and_cookie() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let controller = Controller::start(&pki, &[doppler.address], RawConfig::default()).await;
    for header in [
        format!("Authorization: BEARER {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        format!("Cookie: x=y; authorization=bearer%20{TOKEN}\r\n"),
    ] {
        let mut connection = controller.connect().await;
        connection
            .write_all(handshake("/firehose/n", &header).as_bytes())
            .await
            .unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101", "{header}");
    }
}

/// If all places are taken the answer is 503. A place that is free again can be used.
#[tokio::test]
async fn subscriptions_are_limited() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let limits = RawLimits {
        subscriptions: 1,
        ..RawLimits::default()
    };
    let controller = Controller::start(
        &pki,
        &[doppler.address],
        RawConfig {
            limits,
            ..RawConfig::default()
        },
    )
    .await;
    let mut first = controller.stream("/firehose/n").await;
    let refused = controller.open("/firehose/n", Some(TOKEN)).await.unwrap_err();
    assert!(
        matches!(&refused, tungstenite::Error::Http(answer) if answer.status() == 503),
        "{refused:?}"
    );
    first.close(None).await.unwrap();
    let ledger = controller.ledger();
    eventually("the place is free", || ledger.snapshot().subscribers == 0).await;
    let again = async {
        while controller.open("/firehose/n", Some(TOKEN)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

/// A client that sends nothing, half a request, or invalid data is disconnected, and others are not affected.
#[tokio::test]
async fn idle_and_invalid_connections_are_cut() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let timeouts = RawTimeouts {
        handshake: millis(300),
        header: millis(300),
        ..RawTimeouts::default()
    };
    let controller = Controller::start(
        &pki,
        &[doppler.address],
        RawConfig {
            timeouts,
            ..RawConfig::default()
        },
    )
    .await;
    let mut client = controller.stream("/firehose/n").await;
    // This is not even a TLS handshake.
    let mut silent = tokio::net::TcpStream::connect(controller.address).await.unwrap();
    let mut rest = Vec::new();
    drop(
        tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest))
            .await
            .unwrap(),
    );
    for request in [
        "",
        "GET /firehose/n HT",
        "\0\0\0\r\n\r\n",
        "GET /firehose/n HTTP/1.1\r\nX: y\r\n",
    ] {
        let answer = controller.ask(request).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{request:?}: {answer}"
        );
    }
    let large = format!("GET /firehose/n HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(64 << 10));
    let answer = controller.ask(&large).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    doppler.subscriptions(1).await;
    doppler.publish(&numbered("app", 1, 1, 10));
    assert_eq!(number(&next(&mut client).await), Some(1));
}

/// If a doppler is killed and restarted on its port, streams go on.
#[tokio::test]
async fn losing_a_doppler_does_not_close_a_stream() {
    let pki = Pki::new();
    let (first, second) = (Doppler::start(&pki, 0), Doppler::start(&pki, 0));
    let controller = Controller::start(&pki, &[first.address, second.address], RawConfig::default()).await;
    let mut client = controller.stream("/firehose/n").await;
    first.subscriptions(1).await;
    second.subscriptions(1).await;
    first.publish(&numbered("app", 0, 1, 10));
    assert_eq!(number(&next(&mut client).await), Some(0));
    let port = first.address.port();
    first.kill();
    second.publish(&numbered("app", 1, 1, 10));
    assert_eq!(number(&next(&mut client).await), Some(1));
    let first = Doppler::start(&pki, port);
    first.subscriptions(1).await;
    first.publish(&numbered("app", 2, 1, 10));
    assert_eq!(number(&next(&mut client).await), Some(2));
}

/// A client that stops reading is disconnected. When it reads again, it finds exactly the lines that are counted as
/// sent, in order and without a gap. All others are counted here, or at the doppler if they were not fetched.
#[tokio::test]
async fn a_slow_consumer_loses_exactly_what_is_counted() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let timeouts = RawTimeouts {
        slow_consumer: millis(500),
        ..RawTimeouts::default()
    };
    let controller = Controller::start(
        &pki,
        &[doppler.address],
        RawConfig {
            timeouts,
            ..RawConfig::default()
        },
    )
    .await;
    let mut client = controller.connect().await;
    client
        .write_all(handshake("/firehose/n", &format!("Authorization: {TOKEN}\r\n")).as_bytes())
        .await
        .unwrap();
    let subscription = doppler.subscriptions(1).await.remove(0);
    let total = 200_000;
    for first in (0..total).step_by(1000) {
        subscription.publish(&numbered("app", first, 1000, 200));
    }
    let (ours, theirs) = (controller.ledger(), doppler.ledger());
    eventually("the client is cut", || ours.snapshot().dropped_total() > 0).await;
    let mut said = Vec::new();
    // The connection may end without a TLS close_notify.
    drop(
        tokio::time::timeout(PATIENCE, client.read_to_end(&mut said))
            .await
            .unwrap(),
    );
    let numbers = common::numbers_of(&said);
    assert!(
        numbers.iter().copied().eq(0..numbers.len()),
        "a line is missing or twice"
    );
    let delivered = numbers.len();
    let counts = ours.snapshot();
    assert_eq!(counts.sent, delivered as u64, "{counts:?}");
    assert_eq!(counts.received, counts.sent + counts.dropped_total(), "{counts:?}");
    assert!(
        counts.dropped.iter().all(|drop| drop.reason == "slow_consumer"),
        "{counts:?}"
    );
    // The doppler counts what it had delivered without an acknowledgement, and what is still in its queue.
    eventually("the doppler has seen the end", || theirs.snapshot().subscribers == 0).await;
    let doppler_books = theirs.snapshot();
    let counted = doppler_books.sent + doppler_books.dropped_total();
    assert_eq!(counted, total as u64, "{doppler_books:?} {counts:?}");
    assert_eq!(doppler_books.sent, counts.received, "{doppler_books:?} {counts:?}");
}

/// Invalid data on a stream ends it with a code that names the violation.
#[tokio::test]
async fn garbage_is_answered_with_a_close_code() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let controller = Controller::start(&pki, &[doppler.address], RawConfig::default()).await;
    for (noise, code) in [
        (&b"\x82\x05hello"[..], 1002_u16), // not masked
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", 1002),
        (b"\x82\xff\0\0\0\x01\0\0\0\0\0\0\0\0", 1009),
    ] {
        let mut client = controller.stream("/firehose/n").await;
        client.get_mut().write_all(noise).await.unwrap();
        client.get_mut().flush().await.unwrap();
        let Message::Close(Some(close)) = next(&mut client).await else {
            panic!("no close frame")
        };
        assert_eq!(u16::from(close.code), code);
    }
}

/// A client that does not answer pings is disconnected with code 1008. The library never gets the chance to answer
/// here.
#[tokio::test]
async fn silence_is_closed_with_1008() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let timeouts = RawTimeouts {
        pong: millis(200),
        ..RawTimeouts::default()
    };
    let controller = Controller::start(
        &pki,
        &[doppler.address],
        RawConfig {
            timeouts,
            ..RawConfig::default()
        },
    )
    .await;
    let answer = controller
        .ask_bytes(&handshake("/firehose/n", &format!("Authorization: {TOKEN}\r\n")))
        .await;
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.ends_with("Client did not respond to ping before keep-alive timeout expired."),
        "{text:?}"
    );
}

/// When the server stops, streams send what has arrived and close with code 1000.
#[tokio::test]
async fn stopping_closes_streams_in_order() {
    let pki = Pki::new();
    let doppler = Doppler::start(&pki, 0);
    let controller = Controller::start(&pki, &[doppler.address], RawConfig::default()).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(controller.stream("/firehose/n").await);
    }
    doppler.subscriptions(3).await;
    doppler.publish(&numbered("app", 0, 10, 10));
    for client in &mut clients {
        for expected in 0..10 {
            assert_eq!(number(&next(client).await), Some(expected));
        }
    }
    let stopping = tokio::spawn(controller.stop());
    for client in &mut clients {
        let Message::Close(Some(close)) = next(client).await else {
            panic!("no close frame")
        };
        assert_eq!(u16::from(close.code), 1000);
        client.send(Message::Close(None)).await.ok();
    }
    let counts = stopping.await.unwrap().snapshot();
    assert_eq!((counts.received, counts.sent, counts.subscribers), (30, 30, 0));
    let theirs = doppler.ledger();
    eventually("everything is acknowledged", || theirs.snapshot().sent == 30).await;
    assert_eq!(theirs.snapshot().dropped_total(), 0);
}
