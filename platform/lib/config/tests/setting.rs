//! The defaults, checks and examples that the derive makes from the fields of a configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Duration, ListenAddr, PeerAddr, Secret, Setting, example, load};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Setting)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    /// The address to serve on.
    /// It is one of this machine.
    ///
    /// Port 0 takes any free port.
    #[setting(default = "127.0.0.1:8082")]
    listen: ListenAddr,
    /// The peers to connect to.
    #[setting(default = ["a:1", "b:2"], allowed("at least one `host:port`", |peers| !peers.is_empty()))]
    peers: Vec<PeerAddr>,
    /// The password.
    token: Option<Secret<String>>,
    /// The bounds of the queue.
    queue: Queue,
    /// Labels by name.
    tags: BTreeMap<String, String>,
    /// Another identity, if there is one.
    identity: Option<Identity>,
    /// Drains that get every envelope.
    drains: Vec<Identity>,
    /// Limits by the name of a class.
    classes: BTreeMap<String, Queue>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Setting)]
#[serde(default, deny_unknown_fields)]
struct Queue {
    /// Most bytes of one envelope.
    #[setting(default = ByteSize::mib(2), min = "1MiB", max = self.total)]
    bytes: ByteSize,
    /// Most bytes of all envelopes.
    #[setting(default = "10MiB", max = ByteSize::gib(4))]
    total: ByteSize,
    /// How long an envelope waits.
    #[setting(default = "1m30s", min = Duration::from_secs(1))]
    wait: Duration,
    /// Most envelopes.
    #[setting(default = 1_000, min = 1, max = 100_000)]
    envelopes: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields)]
struct Identity {
    /// PEM file of the certificate.
    #[setting(allowed("a file", |path| path.as_os_str() != ""))]
    cert: PathBuf,
}

/// Defaults stand at the fields, as text, lists, numbers or expressions. A field without one has the default of its
/// type.
#[test]
fn defaults_come_from_the_fields() {
    let raw = Raw::default();
    assert_eq!(raw.listen, ListenAddr::loopback(8082));
    assert_eq!(
        raw.peers.iter().map(PeerAddr::to_string).collect::<Vec<_>>(),
        ["a:1", "b:2"]
    );
    assert_eq!((raw.token, raw.identity), (None, None));
    assert_eq!(
        (raw.queue.bytes, raw.queue.total),
        (ByteSize::mib(2), ByteSize::mib(10))
    );
    assert_eq!((raw.queue.wait, raw.queue.envelopes), (Duration::from_secs(90), 1000));
    assert!(Raw::default().problems().is_empty());
}

/// Every value that is not allowed is a problem with its key, at any depth.
#[test]
fn ranges_are_checked_at_any_depth() {
    let queue = Queue {
        bytes: ByteSize::mib(20),
        wait: Duration::from_millis(1),
        envelopes: 0,
        ..Queue::default()
    };
    let raw = Raw {
        peers: Vec::new(),
        drains: vec![Identity::default()],
        classes: BTreeMap::from([("slow".to_owned(), queue)]),
        queue: Queue {
            total: ByteSize::gib(5),
            ..Queue::default()
        },
        ..Raw::default()
    };
    let problems: Vec<String> = raw.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "`peers` = `[]`: must be at least one `host:port`",
            "`queue.total` = `5GiB`: must be at most 4GiB",
            "`drains[0].cert` = ``: must be a file",
            "`classes.slow.bytes` = `20MiB`: must be 1MiB to `classes.slow.total`",
            "`classes.slow.wait` = `1ms`: must be at least 1s",
            "`classes.slow.envelopes` = `0`: must be 1 to 100000",
        ]
    );
}

/// The example has every key once, with its text, its default and the allowed values, and loads as the defaults.
#[test]
fn the_example_is_a_commented_default() {
    let text = example::<Raw>().unwrap();
    assert_eq!(
        text,
        "\
# The address to serve on. It is one of this machine.
# Port 0 takes any free port.
listen = \"127.0.0.1:8082\"
# The peers to connect to.
# Must be at least one `host:port`.
peers = [\"a:1\", \"b:2\"]
# The password.
# Must be a text.
# token =
# Drains that get every envelope.
drains = []

# The bounds of the queue.
[queue]
# Most bytes of one envelope.
# Must be 1MiB to `total`.
bytes = \"2MiB\"
# Most bytes of all envelopes.
# Must be at most 4GiB.
total = \"10MiB\"
# How long an envelope waits.
# Must be at least 1s.
wait = \"1m30s\"
# Most envelopes.
# Must be 1 to 100000.
envelopes = 1000

# Labels by name.
# [tags]
# NAME =

# Another identity, if there is one.
# [identity]
# # PEM file of the certificate.
# # Must be a file.
# cert =

# [[drains]]
# # PEM file of the certificate.
# # Must be a file.
# cert =

# Limits by the name of a class.
# [classes.NAME]
# # Most bytes of one envelope.
# # Must be 1MiB to `total`.
# bytes =
# # Most bytes of all envelopes.
# # Must be at most 4GiB.
# total =
# # How long an envelope waits.
# # Must be at least 1s.
# wait =
# # Most envelopes.
# # Must be 1 to 100000.
# envelopes =
"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("example.toml");
    std::fs::write(&path, text).unwrap();
    assert_eq!(load::<Raw>("example", Some(&path), [], &[]).unwrap(), Raw::default());
}
