//! The way of a request to a backend and of its answer back.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::backend::{Backend, OK, answer_once, until_closed};
use crate::client::{ask, ask_once, connect, get, read_body, read_head};
use crate::harness::{router, soon};

/// Several requests on one connection reach one connection of the backend.
#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    for _ in 0..5 {
        let answer = ask(&mut client, "GET /x?y HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!((answer.status(), answer.text()), (200, "ok"));
    }
    assert_eq!(backend.connected(), 1);
    let asked = backend.asked.lock();
    assert_eq!(asked.len(), 5);
    assert!(asked.iter().all(|request| request.line == "GET /x?y HTTP/1.1"));
}

/// The answer for a host that nobody has registered, to the letter.
#[tokio::test]
async fn an_unknown_route_is_told() {
    let router = router().await;
    let answer = ask_once(router.address, &get("nobody.example:80")).await;
    assert_eq!(answer.line, "HTTP/1.1 404 Not Found");
    assert_eq!(
        answer.text(),
        "404 Not Found: Requested route ('nobody.example:80') does not exist.\n"
    );
    assert_eq!(answer.header("x-cf-routererror"), "unknown_route");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-cache, no-store");
    assert!(answer.has("x-vcap-request-id"));
}

/// Both bodies travel piece by piece while neither is complete, in both directions at once.
#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let router = router().await;
    let backend = Backend::custom(|mut stream, _, _| async move {
        read_head(&mut stream).await.expect("a head");
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut piece = [0; 5];
        for _ in 0..3 {
            stream.read_exact(&mut piece).await.expect("a piece");
            stream.write_all(b"5\r\n").await.expect("written");
            stream.write_all(&piece).await.expect("written");
            stream.write_all(b"\r\n").await.expect("written");
        }
        stream.write_all(b"0\r\n\r\n").await.expect("written");
        until_closed(&mut stream).await;
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 15\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("written");
    let answer = read_head(&mut client).await.expect("an answer");
    assert_eq!(answer.header("transfer-encoding"), "chunked");
    for piece in ["hello", "there", "again"] {
        client.write_all(piece.as_bytes()).await.expect("written");
        let mut echo = [0; 10];
        soon(client.read_exact(&mut echo)).await.expect("an echo");
        assert_eq!(std::str::from_utf8(&echo), Ok(format!("5\r\n{piece}\r\n").as_str()));
    }
    let mut end = [0; 5];
    soon(client.read_exact(&mut end)).await.expect("the end");
    assert_eq!(&end, b"0\r\n\r\n");
}

/// 100 MB up and 100 MB down, each counted at its end.
#[tokio::test]
async fn a_hundred_megabytes_pass() {
    const SIZE: usize = 100_000_000;
    let router = router().await;
    let backend = Backend::custom(|mut stream, _, _| async move {
        let request = read_head(&mut stream).await.expect("a head");
        let mut left: usize = request.header("content-length").parse().expect("a length");
        let mut piece = vec![0; 65_536];
        while left > 0 {
            left -= stream.read(&mut piece).await.expect("a piece");
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut left = SIZE;
        while left > 0 {
            let size = left.min(piece.len());
            stream.write_all(&piece[..size]).await.expect("written");
            left -= size;
        }
        until_closed(&mut stream).await;
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    let head = format!("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {SIZE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("written");
    let piece = vec![7; 65_536];
    let mut left = SIZE;
    while left > 0 {
        let size = left.min(piece.len());
        client.write_all(&piece[..size]).await.expect("written");
        left -= size;
    }
    let mut answer = read_head(&mut client).await.expect("an answer");
    read_body(&mut client, &mut answer).await;
    assert_eq!(answer.body.len(), SIZE);
}

/// A backend that answers without reading the body is heard, and its connection is not used again.
#[tokio::test]
async fn an_early_answer_is_heard() {
    let router = router().await;
    let backend = Backend::custom(|stream, number, _| async move {
        match number {
            0 => {
                let mut stream = stream;
                read_head(&mut stream).await.expect("a head");
                let answer = "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig";
                stream.write_all(answer.as_bytes()).await.expect("written");
                until_closed(&mut stream).await;
            }
            _ => answer_once(stream, OK.as_bytes()).await,
        }
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    let answer = ask(
        &mut client,
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\nthe beginning",
    )
    .await;
    assert_eq!((answer.status(), answer.text()), (413, "big"));
    drop(client);
    let answer = ask_once(router.address, &get("a.example")).await;
    assert_eq!(answer.text(), "ok");
    assert_eq!(backend.connected(), 2);
}

/// A connection of a client serves on after a refusal and after a failed backend.
#[tokio::test]
async fn connections_outlive_errors() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    router.route("dead.example", crate::backend::nobody().await);
    let mut client = connect(router.address).await;
    assert_eq!(ask(&mut client, &get("nobody.example")).await.status(), 404);
    assert_eq!(ask(&mut client, &get("dead.example")).await.status(), 502);
    assert_eq!(ask(&mut client, &get("a.example")).await.text(), "ok");
}

/// A client that leaves takes the connection to the backend along.
#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let router = router().await;
    let (ended, wait) = tokio::sync::oneshot::channel();
    let ended = std::sync::Arc::new(parking_lot::Mutex::new(Some(ended)));
    let backend = Backend::custom(move |mut stream, _, _| {
        let ended = std::sync::Arc::clone(&ended);
        async move {
            read_head(&mut stream).await.expect("a head");
            until_closed(&mut stream).await;
            ended.lock().take().expect("once").send(()).expect("awaited");
        }
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    client.write_all(get("a.example").as_bytes()).await.expect("written");
    weir_eventually::eventually("the backend is asked", || backend.connected() == 1).await;
    drop(client);
    soon(wait).await.expect("ended");
}
