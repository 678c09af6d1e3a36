//! The start and the stop of `weir up`, and commands without a stack.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use weir_eventually::eventually_blocking;

use crate::stack::{Stack, command, directory, text};

/// The state directory has the documented files. A second `up` is refused. A stop succeeds, removes `endpoints.json` and
/// reports no loss. Another start has the certificates, token and ports of the first.
#[test]
fn a_stack_starts_and_stops() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let endpoints = stack.endpoints();
    for key in ["ca", "client_cert", "client_key"] {
        let path = endpoints[key].as_str().expect("a path");
        assert!(path.starts_with('/') && fs::metadata(path).is_ok(), "{key} = {path}");
    }
    for key in [
        "agent",
        "loggregator_agent",
        "syslog_agent",
        "doppler",
        "rlp",
        "log_cache",
        "log_cache_syslog",
    ] {
        let address = endpoints[key].as_str().expect("an address");
        assert!(address.parse::<std::net::SocketAddr>().is_ok(), "{key} = {address}");
    }
    assert!(
        endpoints["traffic_controller"]
            .as_str()
            .is_some_and(|url| url.starts_with("wss://127.0.0.1:"))
    );
    for key in ["sql_http", "log_cache_gateway", "binding_cache", "syslog_agent_status"] {
        assert!(
            endpoints[key]
                .as_str()
                .is_some_and(|url| url.starts_with("https://127.0.0.1:")),
            "{key}"
        );
    }
    assert_eq!(endpoints["pids"]["doppler"], stack.pid());
    let token = fs::metadata(directory.path().join("token")).expect("a token");
    assert_eq!(token.permissions().mode() & 0o777, 0o600);
    // It is said after `endpoints.json` is there.
    eventually_blocking("what to do next is said", || {
        stack.said().contains("weir is up").then_some(())
    });

    let second = command(directory.path())
        .args(["up", "--ports", "auto"])
        .output()
        .expect("runs");
    assert_eq!(second.status.code(), Some(6), "{}", text(&second));
    assert!(
        text(&second).contains(&format!("process {}", stack.pid())),
        "{}",
        text(&second)
    );

    let doctor = stack.run(&["doctor"]);
    assert!(doctor.status.success(), "{}", text(&doctor));

    let (status, said) = stack.stop();
    assert!(status.success(), "{status}\n{said}");
    assert!(said.contains("weir is down") && said.contains("0 dropped"), "{said}");
    assert!(
        !said.contains("connection to NATS was lost"),
        "a client outlives its component: {said}"
    );
    assert!(!directory.path().join("endpoints.json").exists());

    let ca = fs::read(directory.path().join("certs/ca.crt")).expect("a CA");
    let token = fs::read(directory.path().join("token")).expect("a token");
    let again = Stack::start(directory.path(), &[]);
    assert_eq!(fs::read(directory.path().join("certs/ca.crt")).expect("a CA"), ca);
    assert_eq!(fs::read(directory.path().join("token")).expect("a token"), token);
    assert_eq!(again.endpoints()["rlp"], endpoints["rlp"], "the ports are kept");
}

/// After a stack was killed, commands say so, and a new stack starts.
#[test]
fn a_killed_stack_does_not_prevent_a_start() {
    let directory = directory();
    Stack::start(directory.path(), &[]).kill();
    let orphan = command(directory.path()).args(["recent", "x"]).output().expect("runs");
    assert_eq!(orphan.status.code(), Some(9), "{}", text(&orphan));
    assert!(text(&orphan).contains("not running any more"), "{}", text(&orphan));
    Stack::start(directory.path(), &[]);
}

/// Without a stack, each command fails with a hint on how to start one.
#[test]
fn a_missing_stack_is_explained() {
    let directory = directory();
    for arguments in [
        &["tail"][..],
        &["recent", "x"],
        &["sql", "select 1"],
        &["top"],
        &["emit", "--source-id", "x"],
        &["run", "--", "true"],
        &["endpoints"],
        &["token"],
        &["drain", "list"],
        &["drain", "add", "--source-id", "x", "syslog://127.0.0.1:1"],
        &["drain", "remove", "syslog://127.0.0.1:1"],
    ] {
        let output = command(directory.path()).args(arguments).output().expect("runs");
        let text = text(&output);
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(text.contains("error: stack in `") && text.contains("hint: "), "{text}");
    }
}
