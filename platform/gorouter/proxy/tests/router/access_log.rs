//! What is told of a request, as the access log file shows it.

use std::path::PathBuf;

use tokio::io::AsyncWriteExt as _;
use weir_config::Secret;

use crate::backend::{Backend, OK, nobody, until_closed};
use crate::client::{ask_once, connect};
use crate::harness::{Router, router_with};

/// A router that writes its lines into a file.
async fn logging() -> (Router, PathBuf, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let router = router_with(|raw| {
        raw.telemetry.file = Some(path.clone());
        raw.telemetry.extra_fields = vec!["failed_attempts".to_owned()];
        raw.telemetry.extra_headers = vec!["X-Mine".to_owned()];
        raw.headers.trace_key = Secret::new("key".to_owned());
    })
    .await;
    (router, path, directory)
}

/// The only line of a file, once it is there.
async fn line(path: &PathBuf) -> String {
    let mut text = String::new();
    weir_eventually::eventually("the line is written", || {
        text = std::fs::read_to_string(path).unwrap_or_default();
        text.ends_with('\n')
    })
    .await;
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// A request with a body and an answer: every field in its place.
#[tokio::test]
async fn a_request_is_told() {
    let (router, path, _directory) = logging().await;
    let backend = Backend::answering(OK).await;
    router.register("a.example", backend.address, |registration| {
        registration.app_id = "app-1";
        registration.instance_id = "instance-1";
        registration.instance_index = "3";
    });
    let request = "POST /path?q=1 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: agent\r\nReferer: before\r\nX-Mine: me\r\n\
                   Content-Length: 4\r\n\r\nbody";
    let answer = ask_once(router.address, request).await;
    let line = line(&path).await;
    assert!(line.starts_with("a.example - ["), "{line}");
    for part in [
        "\"POST /path?q=1 HTTP/1.1\" 200 4 2 \"before\" \"agent\" \"127.0.0.1:".to_owned(),
        format!("\"{}\"", backend.address),
        "x_forwarded_for:\"127.0.0.1\" x_forwarded_proto:\"http\"".to_owned(),
        format!("vcap_request_id:\"{}\"", answer.header("x-vcap-request-id")),
        "app_id:\"app-1\" app_index:\"3\" instance_id:\"instance-1\"".to_owned(),
        "failed_attempts:0".to_owned(),
        "x_mine:\"me\"".to_owned(),
    ] {
        assert!(line.contains(&part), "{part} in {line}");
    }
}

/// A refusal, a failed backend and a client that leaves are told with their statuses.
#[tokio::test]
async fn failures_are_told() {
    let (router, path, _directory) = logging().await;
    ask_once(router.address, "GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n").await;
    let told = line(&path).await;
    assert!(
        told.contains("\" 404 0 ") && told.contains("x_cf_routererror:\"unknown_route\""),
        "{told}"
    );

    let (router, path, _directory) = logging().await;
    router.route("a.example", nobody().await);
    ask_once(
        router.address,
        "GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: agent\r\n\r\n",
    )
    .await;
    let told = line(&path).await;
    assert!(
        told.contains("\"agent\"") && told.contains("x_forwarded_proto:\"http\""),
        "{told}"
    );
    assert!(
        told.contains("\" 502 0 ") && told.contains("failed_attempts:1"),
        "{told}"
    );
    assert!(
        told.contains("x_cf_routererror:\"endpoint_failure (dial tcp "),
        "{told}"
    );

    let (router, path, _directory) = logging().await;
    let backend = Backend::custom(|mut stream, _, _| async move { until_closed(&mut stream).await }).await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .expect("written");
    weir_eventually::eventually("the backend is asked", || backend.connected() == 1).await;
    drop(client);
    let told = line(&path).await;
    assert!(told.contains("\" 499 0 0 "), "{told}");
}
