//! `weir drain`: drains are added, probed, listed without their secrets, and removed; each change is in force when the command
//! returns.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use weir_eventually::eventually_blocking;

use crate::stack::{Stack, command, directory, text};

/// A syslog server over TCP that keeps all bytes.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Receiver {
    fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let got = Arc::<Mutex<Vec<u8>>>::default();
        let keep = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let keep = Arc::clone(&keep);
                std::thread::spawn(move || read(stream, &keep));
            }
        });
        Self { address, got }
    }

    fn url(&self) -> String {
        format!("syslog://{}", self.address)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.got.lock().expect("no panic")).into_owned()
    }

    /// Returns the bodies of a source's messages.
    fn bodies(&self, source_id: &str) -> Vec<String> {
        let of_source = format!(" {source_id} [");
        self.text()
            .lines()
            .filter(|line| line.contains(&of_source))
            .filter_map(|line| line.rsplit("] ").next())
            .map(str::to_owned)
            .collect()
    }
}

fn read(mut stream: TcpStream, keep: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        keep.lock().expect("no panic").extend_from_slice(&buffer[..length]);
    }
}

/// Returns an address without a listener. Its port is below the range of ephemeral ports: a client that retries a port of that
/// range may get that port as its own source port and connect to itself.
fn closed_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() * 31 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_240 + number % 20_000).expect("below the range");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("bound");
        }
    }
}

fn drains(stack: &Stack) -> Vec<Value> {
    serde_json::from_str(&stack.say(&["drain", "list", "--json"])).expect("an array")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Setup: a drain of one source. Must hold: it gets the lines of that source only, in order, also after a restart, and none
/// after its removal. A second `add` finds it.
#[test]
fn a_drain_gets_the_lines_of_its_source() {
    let directory = directory();
    let receiver = Receiver::start(0);
    let stack = Stack::start(directory.path(), &[]);
    assert!(stack.say(&["drain", "list"]).starts_with("no drains"));

    let said = stack.say(&["drain", "add", "--source-id", "web", &receiver.url()]);
    let id = said.split_whitespace().nth(1).expect("an ID").to_owned();
    assert!(
        said.starts_with(&format!("drain {id} added: web to {}", receiver.url())),
        "{said}"
    );
    assert!(
        said.contains("tcp") && said.contains("message") && !said.contains("FAILED"),
        "{said}"
    );
    assert_eq!(drains(&stack)[0]["binding"], id.as_str());
    let mode = fs::metadata(directory.path().join("drains.json"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // The drain is in force when `add` has returned: no line after it may be missing.
    stack.feed(&["emit", "--source-id", "web"], b"one\ntwo\nthree\n");
    stack.feed(&["emit", "--source-id", "other"], b"not for it\n");
    let has = |wanted: &[&str]| {
        let bodies = receiver.bodies("web");
        bodies
            .ends_with(&wanted.iter().map(|body| (*body).to_owned()).collect::<Vec<_>>())
            .then_some(())
    };
    eventually_blocking("the lines arrive in order", || has(&["one", "two", "three"]));
    let listed = eventually_blocking("the drain flows", || {
        let listed = stack.say(&["drain", "list"]);
        listed.contains("flowing").then_some(listed)
    });
    assert!(
        listed.contains("web") && listed.contains(&receiver.url()) && listed.contains(&id[..12]),
        "{listed}"
    );
    let doctor = stack.say(&["doctor"]);
    assert!(doctor.contains("the one there is flows"), "{doctor}");

    let again = stack.say(&["drain", "add", "--no-probe", "--source-id", "web", &receiver.url()]);
    assert_eq!(
        again,
        format!("drain {id} was there already: web to {}\n", receiver.url())
    );

    let (status, said) = stack.stop();
    assert!(status.success(), "{said}");
    let stack = Stack::start(directory.path(), &[]);
    stack.feed(&["emit", "--source-id", "web"], b"four\n");
    eventually_blocking("lines arrive after a restart", || has(&["three", "four"]));

    let removed = stack.say(&["drain", "remove", &id[..8]]);
    assert_eq!(removed, format!("drain {id} removed: web to {}\n", receiver.url()));
    stack.feed(&["emit", "--source-id", "web"], b"five\n");
    assert!(drains(&stack).iter().all(|drain| drain["state"] == "removed"));
    assert!(!receiver.text().contains("not for it"));
    eventually_blocking("the line is in the log cache", || {
        stack.say(&["recent", "web", "--body"]).contains("five").then_some(())
    });
    assert!(!receiver.text().contains("five"), "nothing after the removal");
}

/// A drain that cannot be reached is added and reported as failing; its lines wait and are delivered in order.
#[test]
fn lines_wait_for_a_drain() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let address = closed_address();
    let url = format!("syslog://{address}");
    let said = stack.say(&["drain", "add", "--source-id", "web", &url]);
    assert!(said.contains("FAILED") && said.contains("its lines wait"), "{said}");
    stack.feed(&["emit", "--source-id", "web"], b"one\ntwo\n");
    let drain = eventually_blocking("the drain is in trouble", || {
        drains(&stack).into_iter().find(|drain| drain["last_error"].is_string())
    });
    assert!(
        drain["waiting_lines"].as_u64() >= Some(2) && drain["lost"] == 0,
        "{drain}"
    );
    let listed = stack.say(&["drain", "list"]);
    assert!(
        listed.contains(&address.to_string()) && listed.contains("refused"),
        "{listed}"
    );
    let doctor = stack.say(&["doctor"]);
    assert!(doctor.contains("1 of 1 are in trouble"), "{doctor}");
    let receiver = Receiver::start(address.port());
    eventually_blocking("the lines arrive", || {
        let bodies = receiver.bodies("web");
        let place = bodies.iter().position(|body| body == "one")?;
        (bodies.get(place + 1)? == "two").then_some(())
    });
}

/// User info and query of a drain's URL are in `drains.json` and in no output, log or other file.
#[test]
fn secrets_are_shown_nowhere() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let url = format!("https://user:hunter2@{}/in?token=hunter2", closed_address());
    let mut said = stack.say(&["drain", "add", "--source-id", "web", &url]);
    stack.feed(&["emit", "--source-id", "web"], b"one\n");
    eventually_blocking("trouble", || {
        drains(&stack).into_iter().find(|drain| drain["last_error"].is_string())
    });
    eventually_blocking("the source has an LGR line", || {
        let told = stack.say(&["recent", "web"]);
        told.contains("LGR").then_some(())
    });
    for arguments in [
        &["drain", "list"][..],
        &["drain", "list", "--json"],
        &["drain", "probe", &url],
        &["drain", "remove", "https://user:hunter2@h/?hunter2"],
        &["doctor"],
        &["recent", "web", "--json"],
        &["sql", "--format", "json", "select * from drain_status"],
        &["sql", "--format", "json", "select * from logs"],
        &["endpoints"],
    ] {
        said.push_str(&text(&stack.run(arguments)));
    }
    let bad = stack.run(&["drain", "add", "--source-id", "web", "ftp://user:hunter2@h/?hunter2"]);
    said.push_str(&text(&bad));
    said.push_str(&stack.said());
    assert!(!said.contains("hunter2"), "{said}");
    let kept = fs::read_to_string(directory.path().join("drains.json")).expect("a file");
    assert!(kept.contains("hunter2"));
    let config = fs::read_to_string(directory.path().join("config/syslog-agent.toml")).expect("a file");
    assert!(!config.contains("hunter2"));
}

/// One URL with and without a client certificate is two drains; `remove` by URL alone is then ambiguous.
#[test]
fn the_same_url_may_be_bound_twice() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let url = format!("syslog-tls://{}", closed_address());
    let endpoints = stack.endpoints();
    let ca = endpoints["ca"].as_str().expect("a path");
    let (cert, key) = (
        endpoints["client_cert"].as_str().expect("a path"),
        endpoints["client_key"].as_str().expect("a path"),
    );
    let add = |more: &[&str]| {
        stack.say(
            &[
                &["drain", "add", "--no-probe", "--source-id", "web"],
                more,
                &[url.as_str()],
            ]
            .concat(),
        )
    };
    add(&["--ca", ca]);
    add(&["--ca", ca, "--cert", cert, "--key", key]);
    assert_eq!(drains(&stack).len(), 2);
    let ambiguous = stack.run(&["drain", "remove", &url]);
    assert_eq!(code(&ambiguous), Some(6), "{}", text(&ambiguous));
    let id = drains(&stack)[0]["binding"].as_str().expect("an ID").to_owned();
    stack.ok(&["drain", "remove", &id]);
    stack.ok(&["drain", "remove", "--source-id", "web", &url]);
    let unknown = stack.run(&["drain", "remove", &url]);
    assert_eq!(code(&unknown), Some(5), "{}", text(&unknown));
}

/// A drain at a forbidden address is refused with the reason, and not stored.
#[test]
fn a_forbidden_address_is_refused() {
    let directory = directory();
    let range = "127.0.0.0-127.255.255.255";
    let stack = Stack::start_with(
        directory.path(),
        &[],
        &[
            ("BINDING_CACHE__BLOCKED_RANGES", range),
            ("SYSLOG_AGENT__DRAINS__BLOCKED_ADDRESSES", range),
        ],
    );
    let refused = stack.run(&["drain", "add", "--source-id", "web", "syslog://127.0.0.1:514"]);
    assert_eq!(code(&refused), Some(4), "{}", text(&refused));
    assert!(
        text(&refused).contains("blacklisted") && text(&refused).contains("hint: "),
        "{}",
        text(&refused)
    );
    assert!(drains(&stack).is_empty(), "it is not kept");
}

/// `drain probe` needs no stack, and its exit status tells the result.
#[test]
fn a_probe_reports_its_steps() {
    let directory = directory();
    let receiver = Receiver::start(0);
    let weir = |arguments: &[&str]| command(directory.path()).args(arguments).output().expect("runs");
    let good = weir(&["drain", "probe", &receiver.url()]);
    assert_eq!(code(&good), Some(0), "{}", text(&good));
    eventually_blocking("the test message", || (!receiver.text().is_empty()).then_some(()));
    let away = weir(&["drain", "probe", "--json", &format!("syslog://{}", closed_address())]);
    assert_eq!(code(&away), Some(9), "{}", text(&away));
    let report: Value = serde_json::from_slice(&away.stdout).expect("JSON");
    let steps = report["steps"].as_array().expect("steps");
    assert_eq!(
        steps.last().map(|step| &step["ok"]),
        Some(&Value::Bool(false)),
        "{report}"
    );
    let wrong = weir(&["drain", "probe", "syslog://nowhere"]);
    assert_eq!(code(&wrong), Some(2), "{}", text(&wrong));
    assert!(
        text(&wrong).contains("No port found") && text(&wrong).contains("hint: "),
        "{}",
        text(&wrong)
    );
}
