//! Programs of the original by their own command lines: job files in, start lines out.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use weir_eventually::eventually_blocking;

use crate::stack::{Background, command, directory, kill, text};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}

/// Starts a program of the original with its standard output in the file `out`.
fn start(directory: &Path, words: &[&str], out: &Path) -> Background {
    let log = fs::File::create(out.with_extension("log")).expect("file");
    let out = fs::File::create(out).expect("file");
    let started = command(directory)
        .args(words)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(log)
        .spawn();
    Background(started.expect("starts"))
}

/// Setup: a NATS server by nats-server's flags, and a gorouter with a job file that names it. Must hold: the gorouter prints
/// the original's start lines in order, serves, drains at SIGUSR1, says so, and ends with 0.
#[test]
fn a_gorouter_runs_with_its_job_file() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let [nats, http, status, routes] = [(); 4].map(|()| free_port());
    let port = nats.to_string();
    let _nats = start(
        directory.path(),
        &["nats", "-a", "127.0.0.1", "-p", &port],
        &at("nats.out"),
    );
    let connected = || TcpStream::connect((Ipv4Addr::LOCALHOST, nats)).ok();
    eventually_blocking("NATS listens", connected);
    let job = format!(
        "nats: {{hosts: [{{hostname: 127.0.0.1, port: {nats}}}]}}\n\
         port: {http}\n\
         status: {{port: {status}, user: a, pass: b, routes: {{port: {routes}}}}}\n\
         start_response_delay_interval: 1s\n\
         drain_wait: 0s\n"
    );
    fs::write(at("gorouter.yml"), job).expect("written");
    let mut router = start(directory.path(), &["gorouter", "-c", "gorouter.yml"], &at("router.out"));
    let said = || fs::read_to_string(at("router.out")).unwrap_or_default();
    eventually_blocking("the router serves", || {
        let ended = router.0.try_wait().expect("waited");
        assert!(ended.is_none(), "the router ended with {ended:?}: {}", said());
        said().contains("gorouter.started").then_some(())
    });
    let order = ["starting", "Successfully-connected-to-nats", "gorouter.started"];
    let places = order.map(|line| said().find(line));
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{}", said());
    TcpStream::connect((Ipv4Addr::LOCALHOST, http)).expect("the router listens");
    kill(router.0.id(), Signal::USR1);
    let ended = eventually_blocking("the router has drained", || router.0.try_wait().expect("waited"));
    assert!(
        ended.success() && said().contains("gorouter.exited"),
        "{ended}: {}",
        said()
    );
}

/// A job file that is not there is told as the original tells it, and the program ends with 1.
#[test]
fn a_missing_job_file_is_told() {
    let output = command(directory().path())
        .args(["gorouter", "-c", "missing.yml"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("Error loading config"), "{}", text(&output));
}
