//! The configuration of a component from its three sources, with and without faults.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may say what must hold in the shortest way"
)]

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Duration, ListenAddr, Loader, PeerAddr, Problems, Secret, load, render};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    name: String,
    token: Option<Secret<String>>,
    verbose: bool,
    ratio: f64,
    ingress: Ingress,
    egress: Egress,
    limits: Vec<Limit>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ingress {
    listen: ListenAddr,
    max_message: ByteSize,
    queue: NonZeroUsize,
    full: Full,
}

impl Default for Ingress {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(8082),
            max_message: ByteSize::mib(10),
            queue: NonZeroUsize::new(10_000).unwrap(),
            full: Full::Wait,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Full {
    Wait,
    DropOldest,
    Reject,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Egress {
    idle: Duration,
    peers: Vec<PeerAddr>,
    ca: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    source: String,
    rate: u16,
}

#[derive(Debug)]
struct Config {
    queue: usize,
}

impl TryFrom<Raw> for Config {
    type Error = Problems;

    fn try_from(raw: Raw) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.require(!raw.name.is_empty(), "name", &raw.name, "a word");
        let queue = raw.ingress.queue.get();
        problems.require(queue <= 100_000, "ingress.queue", queue, "1 to 100000");
        problems.into_result(Self { queue })
    }
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The values of a file are read into their types, and keys that the file leaves out have their defaults.
#[test]
fn reads_a_file() {
    let raw: Raw = load("doppler", Some(&fixture("doppler.toml")), [], &[]).unwrap();
    assert_eq!(raw.name, "doppler-a");
    assert_eq!(raw.ingress.listen.to_string(), "127.0.0.1:9082");
    assert_eq!(raw.ingress.max_message, ByteSize::mib(8));
    assert_eq!(raw.ingress.queue.get(), 5_000);
    assert_eq!(raw.ingress.full, Full::DropOldest);
    assert_eq!(raw.egress.idle, Duration::from_secs(90));
    assert_eq!(raw.egress.peers[1].host(), "doppler.internal");
    assert_eq!(
        raw.limits,
        [Limit {
            source: "app".into(),
            rate: 16
        }]
    );
    assert_eq!(load::<Raw>("doppler", None, [], &[]).unwrap(), Raw::default());
}

/// Flags are stronger than the environment, which is stronger than the file. Text is parsed as the type of its setting.
#[test]
fn stronger_sources_win() {
    let env = pairs(&[
        ("DOPPLER__INGRESS__LISTEN", ":1"),
        ("DOPPLER__INGRESS__QUEUE", "7"),
        ("DOPPLER__VERBOSE", "true"),
        ("DOPPLER__RATIO", "0.5"),
        ("DOPPLER__EGRESS__PEERS", "a:1, b:2"),
        ("DOPPLER__EGRESS__CA", ""),
        ("DOPPLER__LIMITS", "[{source = 'x', rate = 3}]"),
        ("DOPPLER__TOKEN", "hunter2"),
        ("DOPPLER_GATEWAY__NAME", "another component's"),
        ("HOME", "/"),
    ]);
    let raw: Raw = Loader::new("doppler")
        .file(&fixture("doppler.toml"))
        .env(env)
        .overrides(&pairs(&[
            ("ingress.queue", "8"),
            ("ingress.full", "reject"),
            ("egress.peers", "[\"c:3\"]"),
        ]))
        .raw()
        .unwrap();
    assert_eq!(raw.ingress.listen.to_string(), "0.0.0.0:1");
    assert_eq!((raw.ingress.queue.get(), raw.ingress.full), (8, Full::Reject));
    assert!(raw.verbose && (raw.ratio - 0.5).abs() < f64::EPSILON);
    assert_eq!(
        raw.egress.peers.iter().map(PeerAddr::to_string).collect::<Vec<_>>(),
        ["c:3"]
    );
    assert_eq!((raw.egress.ca, raw.ingress.max_message), (None, ByteSize::mib(8)));
    assert_eq!(raw.limits[0].source, "x");
    assert_eq!(raw.token.unwrap().expose(), "hunter2");
    assert_eq!(raw.name, "doppler-a");
}

/// A misspelt key is refused, and the report names the key that was probably meant.
#[test]
fn misspelt_keys_are_refused() {
    let problems = load::<Raw>("doppler", Some(&fixture("misspelt.toml")), [], &[]).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "configuration is not usable: `ingress.lisetn` (misspelt.toml:3): unknown key; did you mean `ingress.listen`?"
    );
    let env = pairs(&[("RLP__EGRESS__IDEL", "1s")]);
    let problems = load::<Raw>("rlp", None, env, &pairs(&[("colour", "blue")])).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "configuration has 2 problems:\n  `colour` (flag): unknown key; known here: `name`, `token`, `verbose`, `ratio`, \
         `ingress`, `egress`, `limits`\n  `egress.idel` (env RLP__EGRESS__IDEL): unknown key; did you mean `egress.idle`?"
    );
}

/// All faults are reported at once, each with its place, and no secret is shown.
#[test]
fn all_faults_are_reported_at_once() {
    let env = pairs(&[("DOPPLER__VERBOSE", "maybe"), ("DOPPLER__RATIO", "half")]);
    let problems = load::<Raw>("doppler", Some(&fixture("faulty.toml")), env, &[]).unwrap_err();
    let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.sort();
    let expected = [
        "`colour` (faulty.toml:3): unknown key; known here: `name`, `token`, `verbose`, `ratio`, `ingress`, `egress`, `limits`",
        "`egress.idle` = `15` (faulty.toml:13): must be a duration such as `15s`, `100ms` or `1m30s`",
        "`egress.peers[1]` = `nowhere` (faulty.toml:14): must be an address such as `10.0.0.1:8082` or `doppler.internal:8082`",
        "`ingress.full` = `drop_oldes` (faulty.toml:9): must be `wait`, `drop_oldest` or `reject`; did you mean `drop_oldest`?",
        "`ingress.listen` = `2026-01-01` (faulty.toml:10): must be an address to listen on such as `127.0.0.1:8082`, `[::1]:8082` or `:8082`",
        "`ingress.max_message` = `10 megabytes` (faulty.toml:7): must be a size such as `10MiB`, `512KiB` or a number of bytes",
        "`ingress.queue` = `0` (faulty.toml:8): must be an integer of at least 1",
        "`limits[0].rate` = `-1` (faulty.toml:17): must be an integer from 0 to 65535",
        "`limits[0].source` (faulty.toml:16): must be set",
        "`limits[1].rate` = `70000` (faulty.toml:21): must be an integer from 0 to 65535",
        "`name` = `5` (faulty.toml:2): must be a string",
        "`ratio` = `half` (env DOPPLER__RATIO): must be a number",
        "`token` (faulty.toml:4): must be a string",
        "`verbose` = `maybe` (env DOPPLER__VERBOSE): must be `true` or `false`",
    ];
    assert_eq!(lines, expected);
}

/// Values that cannot be read and values that are not allowed are in one report, each once.
#[test]
fn validation_adds_to_the_report() {
    let overrides = pairs(&[("ingress.queue", "1000000"), ("egress.idle", "long"), ("name", "")]);
    let problems = Loader::new("doppler")
        .overrides(&overrides)
        .load::<Raw, Config>()
        .unwrap_err();
    assert_eq!(
        problems.to_string(),
        "configuration has 3 problems:\n  `egress.idle` = `long` (flag): must be a duration such as `15s`, `100ms` or \
         `1m30s`\n  `name` = ``: must be a word\n  `ingress.queue` = `1000000`: must be 1 to 100000"
    );
    let (raw, config): (Raw, Config) = Loader::new("doppler")
        .overrides(&pairs(&[("name", "a"), ("ingress.queue", "9")]))
        .load()
        .unwrap();
    assert_eq!((raw.name.as_str(), config.queue), ("a", 9));
}

/// A file that is missing, or that is not TOML, is reported as a problem.
#[test]
fn unreadable_files_are_problems() {
    let problems = load::<Raw>("doppler", Some(&fixture("nobody.toml")), [], &[]).unwrap_err();
    assert!(
        problems.to_string().contains("nobody.toml`: cannot be read"),
        "{problems}"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.toml");
    std::fs::write(&path, "a = 1\nb = \n").unwrap();
    let problems = load::<Raw>("doppler", Some(&path), [], &[]).unwrap_err();
    assert!(
        problems
            .to_string()
            .starts_with("configuration is not usable: broken.toml:2: is not TOML"),
        "{problems}"
    );
}

/// The effective configuration is written as TOML without its secrets, and can be loaded again.
#[test]
fn a_rendered_configuration_loads_again() {
    let overrides = pairs(&[("token", "hunter2")]);
    let raw: Raw = load("doppler", Some(&fixture("doppler.toml")), [], &overrides).unwrap();
    let text = render(&raw).unwrap();
    assert!(
        text.contains("listen = \"127.0.0.1:9082\"") && text.contains("idle = \"1m30s\""),
        "{text}"
    );
    assert!(
        text.contains("token = \"[redacted]\"") && !text.contains("hunter2"),
        "{text}"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("again.toml");
    std::fs::write(&path, text).unwrap();
    let again: Raw = load("doppler", Some(&path), [], &overrides).unwrap();
    assert_eq!(again, raw);
}

/// Values in the place of a table, empty levels and malformed lists are problems and cause no panic.
#[test]
fn malformed_keys_and_lists_are_problems() {
    for (key, value) in [
        ("", "x"),
        ("ingress", "5"),
        ("ingress", "{listen = 3}"),
        ("ingress.listen.port", "5"),
        ("ingress..listen", "5"),
        ("limits", "{"),
        ("limits", "[1, 2"),
        ("egress.peers", "[] # \n x = 1"),
        ("name.first", "x"),
    ] {
        assert!(
            load::<Raw>("doppler", None, [], &pairs(&[(key, value)])).is_err(),
            "{key}={value}"
        );
    }
}
