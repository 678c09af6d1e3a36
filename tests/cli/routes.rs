//! `weir route` and the names of a stack: a program behind the router, told in its stream; the stack's own interfaces by
//! their names.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use weir_eventually::eventually_blocking;

use crate::stack::{Stack, directory, text};

/// A program that answers every request with `hello`, except `/health` while it is sick.
struct Program {
    address: SocketAddr,
    is_sick: Arc<AtomicBool>,
}

impl Program {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let is_sick = Arc::<AtomicBool>::default();
        let sick = Arc::clone(&is_sick);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sick = Arc::clone(&sick);
                std::thread::spawn(move || answer(stream, &sick));
            }
        });
        Self { address, is_sick }
    }

    fn target(&self) -> String {
        self.address.to_string()
    }
}

fn answer(mut stream: TcpStream, sick: &AtomicBool) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let is_health = head.starts_with(b"GET /health ");
    let status = match is_health && sick.load(Ordering::Relaxed) {
        true => "503 Service Unavailable",
        false => "200 OK",
    };
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    stream.write_all(text.as_bytes()).ok();
}

/// curl as the README shows it, with the names proxy and the stack's CA; `None` where there is no curl.
#[expect(
    clippy::print_stdout,
    reason = "who reads the test's output learns why it proves less"
)]
fn curl(stack: &Stack, arguments: &[&str]) -> Option<Output> {
    let endpoints = stack.endpoints();
    let value = |key: &str| endpoints[key].as_str().expect("a text").to_owned();
    let output = Command::new("curl")
        .env("https_proxy", value("names_proxy"))
        .env("http_proxy", value("names_proxy"))
        .args(["--silent", "--show-error", "--max-time", "60", "--cacert", &value("ca")])
        .args(arguments)
        .output();
    match output {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: curl cannot be run: {error}");
            None
        }
    }
}

/// The routes of the registrar that were added by hand.
fn added(stack: &Stack) -> Vec<Value> {
    let routes: Vec<Value> = serde_json::from_str(&stack.say(&["route", "list", "--json"])).expect("an array");
    routes.into_iter().filter(|route| route["file"].is_string()).collect()
}

/// Setup: a whole stack and a program. Must hold: `weir route add` returns when requests to the name reach the program;
/// the requests are told in the name's stream; a sick program is unregistered; `weir route remove` ends it; the doctor
/// finds the names well.
#[test]
fn a_program_is_behind_the_router() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let program = Program::start();
    let said = stack.say(&["route", "add", "hello", &program.target()]);
    assert!(
        said.contains("route hello.weir.localhost added: to 127.0.0.1:"),
        "{said}"
    );
    assert!(said.contains("https://hello.weir.localhost/ answers 200\n"), "{said}");
    let again = stack.say(&["route", "add", "hello", &program.target(), "--no-probe"]);
    assert!(again.contains("was there already"), "{again}");

    if let Some(output) = curl(&stack, &["https://hello.weir.localhost/curl?a=b"]) {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{}", text(&output));
    }
    if let Some(output) = curl(&stack, &["http://hello.weir.localhost/plain"]) {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{}", text(&output));
    }
    eventually_blocking("the stream of `hello` tells the request", || {
        let lines = stack.say(&["recent", "hello"]);
        (lines.contains("RTR") && lines.contains("\"GET / HTTP/1.1\" 200")).then_some(())
    });

    assert_eq!(added(&stack)[0]["state"], "registered");
    let said = stack.say(&["route", "add", "hello", &program.target(), "--health", "/health"]);
    assert!(
        said.contains("https://hello.weir.localhost/health answers 200"),
        "{said}"
    );
    program.is_sick.store(true, Ordering::Relaxed);
    let why = eventually_blocking("the program is seen to be sick", || {
        let route = added(&stack).remove(0);
        (route["state"] == "unhealthy").then(|| route["error"].clone())
    });
    assert!(why.as_str().is_some_and(|why| why.contains("503")), "{why}");
    program.is_sick.store(false, Ordering::Relaxed);
    eventually_blocking("the program is well again", || {
        (added(&stack)[0]["state"] == "registered").then_some(())
    });

    let doctor = stack.say(&["doctor"]);
    assert!(
        doctor.contains("uaa.weir.localhost") && doctor.contains("answer through the router"),
        "{doctor}"
    );
    let said = stack.say(&["route", "remove", "hello"]);
    assert!(said.contains("route hello.weir.localhost removed"), "{said}");
    assert!(added(&stack).is_empty());
    if let Some(output) = curl(&stack, &["--include", "https://hello.weir.localhost/"]) {
        let said = text(&output).to_ascii_lowercase();
        assert!(said.contains("x-cf-routererror: unknown_route"), "{said}");
    }
    let failed = stack.run(&["route", "remove", "hello"]);
    assert_eq!(failed.status.code(), Some(5), "{}", text(&failed));
}

/// Setup: a whole stack, curl with the exported proxy. Must hold: the stack's interfaces answer by their names through the
/// router, with the stack's certificates.
#[test]
fn interfaces_have_names() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    eventually_blocking("the line to paste is shown", || {
        stack
            .said()
            .contains("export https_proxy=http://127.0.0.1:")
            .then_some(())
    });
    for (url, expected) in [
        ("https://uaa.weir.localhost/login", "password"),
        ("https://login.weir.localhost/info", "{"),
        ("https://log-cache.weir.localhost/api/v1/info", "version"),
    ] {
        let Some(output) = curl(&stack, &["--fail", url]) else {
            return;
        };
        assert!(text(&output).contains(expected), "{url}: {}", text(&output));
    }
    // The traffic controller is reached, and wants a token.
    if let Some(output) = curl(&stack, &["--include", "https://doppler.weir.localhost/firehose/x"]) {
        assert!(text(&output).contains("401"), "{}", text(&output));
    }
}

/// Setup: a whole stack and a program. Must hold: a port of the TCP router leads to the program until the route is removed;
/// a port that is not the router group's is refused with a hint, and forgotten.
#[test]
fn a_tcp_port_leads_to_a_program() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let program = Program::start();
    let refused = stack.run(&["route", "add", "low", &program.target(), "--tcp", "80"]);
    assert!(
        !refused.status.success() && text(&refused).contains("hint: take one of 1024-1033"),
        "{}",
        text(&refused)
    );
    assert!(added(&stack).is_empty());
    let said = stack.say(&["route", "add", "hello-tcp", &program.target(), "--tcp", "1024"]);
    assert!(said.contains("route hello-tcp (TCP port 1024) added"), "{said}");
    let ask = || {
        let mut stream = TcpStream::connect("127.0.0.1:1024").ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.ends_with("hello").then_some(())
    };
    eventually_blocking("the port leads to the program", ask);
    stack.say(&["route", "remove", "hello-tcp"]);
    eventually_blocking("nobody listens at the port any more", || {
        TcpStream::connect("127.0.0.1:1024").is_err().then_some(())
    });
}

/// What is wrong with a route is said before anything is written.
#[test]
fn mistakes_are_explained() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &["--only", "routing"]);
    for (arguments, expected) in [
        (&["route", "add", "a b", "127.0.0.1:1"][..], "name `a b`"),
        (&["route", "add", "a", "8080"], "hint: give host and port"),
        (
            &["route", "add", "a", "127.0.0.1:1", "--health", "x"],
            "begins with `/`",
        ),
        (&["route", "remove", "a"], "`weir route list` shows all"),
    ] {
        let output = stack.run(arguments);
        assert!(
            !output.status.success() && text(&output).contains(expected),
            "{arguments:?}: {}",
            text(&output)
        );
    }
    assert!(!directory.path().join("routes.json").exists());
}
