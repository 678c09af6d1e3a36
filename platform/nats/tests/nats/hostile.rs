//! Clients that send garbage, too much or nothing, and clients that do not read: others are served meanwhile.

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use weir_config::{ByteSize, Duration};
use weir_eventually::{PATIENCE, eventually_async};
use weir_net::RawPortLimits;
use weir_platform_nats::RawConfig;

use crate::clients::identity;
use crate::running::Running;
use crate::wire::{CLOSED, Wire};

/// Whether a message passes between two clients.
async fn serves_others(server: &Running) {
    let mut subscriber = Wire::connected(server.address).await;
    assert_eq!(subscriber.ask("SUB others 1\r\n").await, "");
    let mut publisher = Wire::connected(server.address).await;
    assert_eq!(publisher.ask("PUB others 2\r\nhi\r\n").await, "");
    assert_eq!(subscriber.ask("").await, "MSG others 1 2\r\nhi\r\n");
}

/// Garbage, control lines without an end and messages that are too large are refused by name, and end one connection only.
#[tokio::test]
async fn garbage_ends_its_own_connection() {
    let server = Running::start(RawConfig::default()).await;
    for (sent, told) in [
        (b"\x16\x03\x01\x02\x00\x01".to_vec(), "Unknown Protocol Operation"),
        (vec![0; 100_000], "Unknown Protocol Operation"),
        (b"SUB a b c d e\r\n".to_vec(), "Parser Error"),
        (
            [b"SUB ", &b"a".repeat(5000)[..]].concat(),
            "maximum control line exceeded",
        ),
        (
            [b"CONNECT {\"name\":\"", &b"a".repeat(5000)[..]].concat(),
            "maximum control line exceeded",
        ),
        (b"PUB a 1048577\r\n".to_vec(), "Maximum Payload Violation"),
        (b"PUB a 99999999999999999999\r\n".to_vec(), "Parser Error"),
    ] {
        let mut wire = Wire::open(server.address).await;
        wire.send(&sent).await;
        let rest = wire.rest().await;
        // Where more was sent than the server reads, the system may drop its last words with the connection.
        let rest = String::from_utf8_lossy(&rest);
        assert!(
            rest == format!("-ERR '{told}'\r\n") || sent.len() > 50_000 && rest.is_empty(),
            "{told}: {rest}"
        );
        serves_others(&server).await;
    }
    server.stop().await;
}

/// A subscriber that reads nothing is disconnected when too much waits for it, and one that reads gets every message.
#[tokio::test]
async fn a_subscriber_that_does_not_read_is_disconnected() {
    let raw = RawConfig {
        max_pending: ByteSize::mib(1),
        // Only the bytes count here.
        write_deadline: Duration::from_secs(600),
        ..RawConfig::default()
    };
    let server = Running::start(raw).await;
    let mut asleep = Wire::connected(server.address).await;
    assert_eq!(asleep.ask("SUB a 1\r\n").await, "");
    let mut awake = Wire::connected(server.address).await;
    assert_eq!(awake.ask("SUB a 1\r\n").await, "");
    let mut publisher = Wire::connected(server.address).await;
    let message = format!("PUB a 10000\r\n{}\r\n", "x".repeat(10_000));
    let expected = format!("MSG a 1 10000\r\n{}\r\n", "x".repeat(10_000));
    // More than the buffers of the system and of the server hold.
    for _ in 0..2000 {
        publisher.send(message.as_bytes()).await;
        assert!(awake.exactly(expected.len()).await == expected.as_bytes());
    }
    let rest = asleep.rest().await;
    assert!(rest.len() < 2000 * expected.len(), "it was cut off");
    assert_eq!(awake.ask("").await, "");
    serves_others(&server).await;
    server.stop().await;
}

/// A subscriber that reads nothing is disconnected after the write deadline, even if little waits for it.
#[tokio::test]
async fn a_subscriber_that_stands_still_is_disconnected() {
    let raw = RawConfig {
        write_deadline: Duration::from_millis(50),
        ..RawConfig::default()
    };
    let server = Running::start(raw).await;
    let mut asleep = Wire::connected(server.address).await;
    assert_eq!(asleep.ask("SUB a 1\r\n").await, "");
    let mut publisher = Wire::connected(server.address).await;
    let message = format!("PUB a 1000000\r\n{}\r\n", "x".repeat(1_000_000));
    // As much as the buffers of the system hold, and then some.
    for _ in 0..16 {
        assert_eq!(publisher.ask(&message).await, "");
    }
    // It is gone when the server has no subscription any more: a request says so.
    let mut asking = Wire::open(server.address).await;
    let connect = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB r 1\r\n";
    assert_eq!(asking.ask(connect).await, "");
    eventually_async("the subscriber is gone", async || {
        asking.ask("PUB a r 0\r\n\r\n").await.contains("503")
    })
    .await;
    server.stop().await;
}

/// Who says nothing, or does not say who they are, is disconnected in time; so is who answers no pings.
#[tokio::test]
async fn silent_clients_are_disconnected() {
    let raw = RawConfig {
        auth_timeout: Duration::from_millis(100),
        ping_interval: Duration::from_millis(100),
        ..RawConfig::default()
    };
    let server = Running::start(raw).await;
    let mut silent = Wire::open(server.address).await;
    assert_eq!(silent.rest().await, b"-ERR 'Authentication Timeout'\r\n");
    let mut deaf = Wire::open(server.address).await;
    deaf.send(b"CONNECT {\"verbose\":false}\r\n").await;
    assert_eq!(deaf.rest().await, b"PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    let mut lively = Wire::connected(server.address).await;
    for _ in 0..10 {
        assert_eq!(lively.line().await, "PING\r\n");
        lively.send(b"PONG\r\n").await;
    }
    assert_eq!(lively.ask("").await, "");
    server.stop().await;
}

/// Messages that are announced and do not come cost nothing; those that come in part share a budget, beyond which they end.
#[tokio::test]
async fn unfinished_messages_share_a_budget() {
    let raw = RawConfig {
        max_unfinished: ByteSize::mib(4),
        ..RawConfig::default()
    };
    let server = Running::start(raw).await;
    let mut crowd = Vec::new();
    for _ in 0..16 {
        let mut wire = Wire::connected(server.address).await;
        let begun = [b"PUB a 1000000\r\n", &b"x".repeat(900_000)[..]].concat();
        wire.send(&begun).await;
        crowd.push(wire);
    }
    let mut ended = 0;
    for wire in &mut crowd {
        wire.send(&b"x".repeat(99_999)).await;
    }
    serves_others(&server).await;
    for mut wire in crowd {
        wire.send(b"x\r\n").await;
        if wire.ask("").await.ends_with(CLOSED) {
            ended += 1;
        }
    }
    assert!((1..16).contains(&ended), "{ended} of 16 did not fit");
    serves_others(&server).await;
    server.stop().await;
}

/// The largest message passes.
#[tokio::test]
async fn the_largest_message_passes() {
    let server = Running::start(RawConfig::default()).await;
    let mut subscriber = Wire::connected(server.address).await;
    assert_eq!(subscriber.ask("SUB a 1\r\n").await, "");
    let mut publisher = Wire::connected(server.address).await;
    let payload = "x".repeat(1 << 20);
    publisher
        .send(format!("PUB a 1048576\r\n{payload}\r\n").as_bytes())
        .await;
    assert_eq!(subscriber.line().await, "MSG a 1 1048576\r\n");
    assert!(subscriber.exactly(payload.len()).await == payload.as_bytes());
    server.stop().await;
}

/// Connections that never say who they are do not keep those out that do, and those that have are not given up for them.
#[tokio::test]
async fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let raw = RawConfig {
        port: RawPortLimits {
            connections: 20,
            connections_per_address: 20,
            ..RawPortLimits::default()
        },
        ..RawConfig::default()
    };
    let server = Running::start(raw).await;
    let mut subscriber = Wire::connected(server.address).await;
    assert_eq!(subscriber.ask("SUB a 1\r\n").await, "");
    let mut crowd = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        stream.write_all(b"PI").await.ok();
        crowd.push(stream);
    }
    let mut publisher = Wire::connected(server.address).await;
    assert_eq!(publisher.ask("PUB a 2\r\nhi\r\n").await, "");
    assert_eq!(subscriber.ask("").await, "MSG a 1 2\r\nhi\r\n");
    server.stop().await;
}

/// A client that does not begin its handshake does not keep the server from stopping.
#[tokio::test]
async fn an_unfinished_handshake_does_not_delay_the_stop() {
    let folder = TempDir::new().expect("a folder");
    let raw = RawConfig {
        identity: Some(identity(folder.path(), "nats")),
        auth_timeout: Duration::from_secs(600),
        lame_duck: Duration::from_millis(10),
        ..RawConfig::default()
    };
    let server = Running::start(raw).await;
    let mut silent = Wire::open(server.address).await;
    assert!(silent.info().contains("\"tls_required\":true"));
    let stopped = tokio::time::timeout(PATIENCE, server.stop()).await;
    assert!(stopped.is_ok(), "the server stops");
    assert_eq!(silent.rest().await, b"");
}

/// A stopping server tells its clients, writes what waits for them, and ends those that do not leave.
#[tokio::test]
async fn a_stopping_server_says_so() {
    let raw = RawConfig {
        lame_duck: Duration::from_millis(200),
        ..RawConfig::default()
    };
    let server = Running::start(raw).await;
    let mut subscriber = Wire::connected(server.address).await;
    assert_eq!(subscriber.ask("SUB a 1\r\n").await, "");
    assert!(!subscriber.info().contains("ldm"));
    let mut publisher = Wire::connected(server.address).await;
    assert_eq!(publisher.ask("PUB a 2\r\nhi\r\n").await, "");
    server.ask_to_stop();
    let said = String::from_utf8(subscriber.rest().await).expect("text");
    let (message, info) = said.split_once("INFO ").expect("a message and INFO");
    assert_eq!(message, "MSG a 1 2\r\nhi\r\n");
    assert!(info.contains("\"ldm\":true") && info.ends_with("\r\n"), "{info}");
    server.stop().await;
}
