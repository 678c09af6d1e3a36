//! Dialogues that the original and we have with raw clients, word by word.

use std::net::SocketAddr;

use weir_platform_nats::RawConfig;

use crate::running::{Original, Running, skipped};
use crate::wire::Wire;

/// What clients say one after the other: the number of the client, and its lines.
type Dialogue = &'static [(usize, &'static str)];

const DIALOGUES: &[(&str, Dialogue)] = &[
    (
        "spellings",
        &[(
            0,
            "sub a.b x1\r\nPub\ta.b \t 5\nhello\r\npub a.b r 0\r\n\r\nuNsUb x1\npub a.b 0\r\n\r\n",
        )],
    ),
    (
        "wildcards",
        &[
            (0, "SUB a.* 1\r\n"),
            (1, "SUB a.> 2\r\n"),
            (2, "SUB > 3\r\n"),
            (3, "SUB *.*.c 4\r\n"),
            (
                4,
                "PUB a 0\r\n\r\nPUB a.b 0\r\n\r\nPUB a.b.c 0\r\n\r\nPUB b 0\r\n\r\nPUB a..c 0\r\n\r\nPUB .a 0\r\n\r\n",
            ),
            (4, "PUB a.* 0\r\n\r\nPUB a.> 0\r\n\r\nPUB * 0\r\n\r\n"),
        ],
    ),
    (
        "subjects of subscriptions",
        &[(
            0,
            "SUB a..b 1\r\nSUB .a 1\r\nSUB a. 1\r\nSUB a.>.b 1\r\nSUB a>.b 1\r\nPUB a>.b 1\r\nx\r\n",
        )],
    ),
    (
        "headers",
        &[
            (0, "SUB a 1\r\n"),
            (
                1,
                "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\nHPUB a 0 2\r\nhi\r\n",
            ),
        ],
    ),
    (
        "headers for a client without them",
        &[
            (5, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB a 1\r\n"),
            (
                1,
                "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            ),
        ],
    ),
    (
        "verbose and pedantic",
        &[(
            5,
            "CONNECT {}\r\nSUB a 1\r\nPUB a 2\r\nhi\r\nUNSUB 1\r\nUNSUB none\r\nPUB a.* 0\r\n\r\nSUB a..b 2\r\nPONG\r\n+OK\r\n",
        )],
    ),
    ("a client that never connects", &[(5, "SUB a 1\r\nPUB a 2\r\nhi\r\n")]),
    (
        "no echo",
        &[
            (
                5,
                "CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB a 1\r\nSUB b q 2\r\n",
            ),
            (0, "SUB a 1\r\nSUB b q 1\r\n"),
            (5, "PUB a 0\r\n\r\nPUB b 0\r\n\r\n"),
            (1, "PUB a 0\r\n\r\n"),
        ],
    ),
    (
        "subscriptions that end by themselves",
        &[
            (0, "SUB a 1\r\nUNSUB 1 2\r\n"),
            (1, "PUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n"),
            (0, "SUB a 1\r\n"),
            (1, "PUB a 1\r\n4\r\nPUB a 1\r\n5\r\n"),
            (0, "UNSUB 1 2\r\n"),
            (1, "PUB a 1\r\n6\r\n"),
            (0, "SUB a 2\r\nSUB a 2\r\nUNSUB 2 0\r\n"),
            (1, "PUB a 1\r\n7\r\n"),
        ],
    ),
    (
        "no responders",
        &[
            (
                5,
                "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB r.* 9\r\n",
            ),
            (
                5,
                "PUB a.b r.1 0\r\n\r\nPUB a.b 0\r\n\r\nPUB a.b elsewhere 0\r\n\r\nHPUB a.b r.2 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            ),
            (0, "SUB a.b 1\r\n"),
            (5, "PUB a.b r.1 0\r\n\r\n"),
            (6, "CONNECT {\"no_responders\":true}\r\n"),
        ],
    ),
    (
        "unknown operations",
        &[
            (0, "GET / HTTP/1.1\r\n"),
            (1, "PUBLISH a 0\r\n\r\n"),
            (2, "PUB a 2\r\nhello\r\n"),
            (3, "SUBSCRIBE a 1\r\n"),
        ],
    ),
    ("too large", &[(0, "PUB a 1048577\r\n"), (1, "HPUB a 10 99999999\r\n")]),
    (
        "another protocol",
        &[(5, "CONNECT {\"verbose\":false,\"protocol\":2}\r\n")],
    ),
];

/// All that the clients of a dialogue hear, by step and client.
async fn hold(address: SocketAddr, dialogue: Dialogue) -> Vec<String> {
    let mut clients = Vec::new();
    for number in 0..7 {
        // The last two say for themselves who they are.
        clients.push(match number {
            0..5 => Wire::connected(address).await,
            _ => Wire::open(address).await,
        });
    }
    let mut heard = Vec::new();
    for (speaker, lines) in dialogue {
        let said = clients[*speaker].ask(lines).await;
        heard.push(format!("{speaker}: {said}"));
        for number in (0..7).filter(|number| number != speaker) {
            // One that has said nothing must not begin with a ping.
            if number < 5 || dialogue.iter().any(|(other, _)| *other == number) {
                let said = clients[number].ask("").await;
                heard.push(format!("  {number}: {said}"));
            }
        }
    }
    // What nobody said is left out: it makes a difference hard to see.
    heard.retain(|said| !said.ends_with(": "));
    heard
}

/// Every dialogue is the same with the original, word by word.
#[tokio::test]
async fn dialogues_are_those_of_the_original() {
    let Some(original) = Original::start(&[]).await else {
        return;
    };
    if !Wire::open(original.address)
        .await
        .info()
        .contains("\"version\":\"2.15.")
    {
        skipped("nats-server is not 2.15, whose words these are");
        return;
    }
    for (name, dialogue) in DIALOGUES {
        let ours = Running::start(RawConfig::default()).await;
        let (expected, heard) = (
            hold(original.address, dialogue).await,
            hold(ours.address, dialogue).await,
        );
        assert_eq!(heard, expected, "{name}");
        ours.stop().await;
    }
}

/// The dialogues are held where the original is not installed, too: something is heard in each.
#[tokio::test]
async fn dialogues_are_held() {
    let ours = Running::start(RawConfig::default()).await;
    for (name, dialogue) in DIALOGUES {
        assert!(!hold(ours.address, dialogue).await.is_empty(), "{name}");
    }
    ours.stop().await;
}

/// Operations that arrive byte by byte, or many at once, are carried out all the same.
#[tokio::test]
async fn operations_arrive_in_any_pieces() {
    let ours = Running::start(RawConfig::default()).await;
    let mut subscriber = Wire::connected(ours.address).await;
    assert_eq!(subscriber.ask("SUB a.> 1\r\n").await, "");
    let mut publisher = Wire::connected(ours.address).await;
    for byte in b"PUB a.b r 5\r\nhello\r\nPUB a.c 0\r\n\r\n" {
        publisher.send(&[*byte]).await;
    }
    assert_eq!(publisher.ask("").await, "");
    assert_eq!(
        subscriber.ask("").await,
        "MSG a.b 1 r 5\r\nhello\r\nMSG a.c 1 0\r\n\r\n"
    );
    let message = format!("PUB a.b 100\r\n{}\r\n", "x".repeat(100));
    publisher.send(message.repeat(5000).as_bytes()).await;
    let expected = format!("MSG a.b 1 100\r\n{}\r\n", "x".repeat(100)).repeat(5000);
    assert!(subscriber.exactly(expected.len()).await == expected.as_bytes());
    assert_eq!(publisher.ask("").await, "");
    ours.stop().await;
}
