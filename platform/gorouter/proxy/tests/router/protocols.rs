//! What HTTP has besides requests and answers.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::backend::{Backend, OK, until_closed};
use crate::client::{ask, ask_once, connect, get, read_body, read_head, read_message};
use crate::harness::{router, soon};

/// A WebSocket: what either side says after the change arrives, also what was said with the change.
#[tokio::test]
async fn upgrades_are_tunnelled() {
    let router = router().await;
    let backend = Backend::custom(|mut stream, _, backend| async move {
        let request = read_head(&mut stream).await.expect("a head");
        backend.asked.lock().push(request);
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly";
        stream.write_all(answer.as_bytes()).await.expect("written");
        let mut piece = [0; 4];
        while stream.read_exact(&mut piece).await.is_ok() {
            stream.write_all(&piece).await.expect("written");
        }
        stream.write_all(b"end").await.expect("written");
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    let request =
        "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    client.write_all(request.as_bytes()).await.expect("written");
    let answer = read_head(&mut client).await.expect("an answer");
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.header("upgrade"), "websocket");
    let mut early = [0; 5];
    soon(client.read_exact(&mut early)).await.expect("read");
    assert_eq!(&early, b"early");
    client.write_all(b"pingpong").await.expect("written");
    let mut echo = [0; 8];
    soon(client.read_exact(&mut echo)).await.expect("read");
    assert_eq!(&echo, b"pingpong");
    client.shutdown().await.expect("shut down");
    let mut rest = Vec::new();
    soon(client.read_to_end(&mut rest)).await.expect("read");
    assert_eq!(rest, b"end");
    let request = backend.only();
    assert_eq!(
        (request.header("connection"), request.header("upgrade")),
        ("Upgrade", "WebSocket")
    );
}

/// A backend that does not want to change the protocol answers as to any request.
#[tokio::test]
async fn an_upgrade_may_be_refused() {
    let router = router().await;
    let backend = Backend::answering("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno").await;
    router.route("a.example", backend.address);
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let mut client = connect(router.address).await;
    for _ in 0..2 {
        let answer = ask(&mut client, request).await;
        assert_eq!((answer.status(), answer.text()), (426, "no"));
    }
}

/// An upgrade with a body: the body reaches the backend first.
#[tokio::test]
async fn an_upgrade_may_have_a_body() {
    let router = router().await;
    let backend = Backend::custom(|mut stream, _, backend| async move {
        let request = read_message(&mut stream).await.expect("a request");
        backend.asked.lock().push(request);
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("written");
        let mut piece = [0; 4];
        stream.read_exact(&mut piece).await.expect("read");
        stream.write_all(&piece).await.expect("written");
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    let request =
        "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 4\r\n\r\nbody";
    client.write_all(request.as_bytes()).await.expect("written");
    assert_eq!(read_head(&mut client).await.expect("an answer").status(), 101);
    assert_eq!(backend.only().text(), "body");
    client.write_all(b"ping").await.expect("written");
    let mut echo = [0; 4];
    soon(client.read_exact(&mut echo)).await.expect("read");
    assert_eq!(&echo, b"ping");
}

/// Chunks with trailers pass both ways.
#[tokio::test]
async fn trailers_pass() {
    let router = router().await;
    let answer =
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n";
    let backend = Backend::answering(answer).await;
    router.route("a.example", backend.address);
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nbody\r\n0\r\nX-Check: 5\r\n\r\n";
    let answer = ask_once(router.address, request).await;
    let sum = ("x-sum".to_owned(), "7".to_owned());
    assert_eq!((answer.text(), answer.trailers.as_slice()), ("ok", [sum].as_slice()));
    let request = backend.only();
    let check = ("x-check".to_owned(), "5".to_owned());
    assert_eq!(
        (request.text(), request.trailers.as_slice()),
        ("body", [check].as_slice())
    );
}

/// `HEAD`, `204` and `304` have no body, whatever their length says, and their connections serve on.
#[tokio::test]
async fn answers_without_a_body() {
    let router = router().await;
    let backend = Backend::custom(|mut stream, _, _| async move {
        while let Some(request) = read_message(&mut stream).await {
            let answer = match request.line.split(' ').next() {
                Some("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                Some("DELETE") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("OPTIONS") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
                _ => OK,
            };
            stream.write_all(answer.as_bytes()).await.expect("written");
        }
    })
    .await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    for (method, status, length) in [("HEAD", 200, "1000"), ("DELETE", 204, ""), ("OPTIONS", 304, "")] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("written");
        let answer = read_head(&mut client).await.expect("an answer");
        assert_eq!((answer.status(), answer.header("content-length")), (status, length));
        assert!(!answer.has("transfer-encoding"));
    }
    assert_eq!(ask(&mut client, &get("a.example")).await.text(), "ok");
    assert_eq!(backend.connected(), 1);
}

/// Informational answers before the real one do not disturb it.
#[tokio::test]
async fn informational_answers_are_passed_over() {
    let router = router().await;
    let answer = format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}");
    let backend = Backend::answering(answer).await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    for _ in 0..2 {
        assert_eq!(ask(&mut client, &get("a.example")).await.text(), "ok");
    }
}

/// A client that waits for `100 Continue` gets it; the connection to the backend ends with the answer.
#[tokio::test]
async fn a_client_may_wait_for_continue() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("written");
    assert_eq!(read_head(&mut client).await.expect("an answer").status(), 100);
    client.write_all(b"body").await.expect("written");
    let mut answer = read_head(&mut client).await.expect("an answer");
    read_body(&mut client, &mut answer).await;
    assert_eq!(answer.text(), "ok");
    let request = backend.only();
    assert_eq!((request.text(), request.header("connection")), ("body", "close"));
    assert_eq!(ask(&mut client, &get("a.example")).await.text(), "ok");
    assert_eq!(backend.connected(), 2);
}

/// HTTP/1.0 is answered, and its connection ended.
#[tokio::test]
async fn old_clients_are_served() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    let mut client = connect(router.address).await;
    let answer = ask(&mut client, "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n").await;
    assert_eq!((answer.line.as_str(), answer.text()), ("HTTP/1.0 200 OK", "ok"));
    soon(until_closed(&mut client)).await;
    let answer = ask_once(router.address, "GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(
        (answer.status(), answer.header("x-cf-routererror")),
        (400, "empty_host")
    );
}

/// Targets with a host, and paths that look like one.
#[tokio::test]
async fn targets_with_a_host() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    for target in ["http://a.example/x?y", "//x//y?z"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(ask_once(router.address, &request).await.status(), 200);
    }
    let asked = backend.asked.lock();
    let lines: Vec<_> = asked.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET http://a.example/x?y HTTP/1.1",
            "GET http://a.example//x//y?z HTTP/1.1"
        ]
    );
    assert!(asked.iter().all(|request| request.header("host") == "a.example"));
}

/// A request with two lengths never reaches a backend with both: that is how requests are smuggled.
#[tokio::test]
async fn two_lengths_are_not_passed_on() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.route("a.example", backend.address);
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n\r\n0\r\n\r\n");
        let answer = ask_once(router.address, &request).await;
        assert!(matches!(answer.status(), 200 | 400), "{}", answer.line);
    }
    for request in backend.asked.lock().iter() {
        assert!(
            !request.has("content-length") || !request.has("transfer-encoding"),
            "{request:?}"
        );
    }
    for fields in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: +4",
        "Transfer-Encoding: x, chunked, x",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n\r\nbody");
        assert_eq!(ask_once(router.address, &request).await.status(), 400, "{fields}");
    }
}
