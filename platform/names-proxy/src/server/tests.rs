use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_service::Trigger;

use super::*;
use crate::RawConfig;

/// A proxy whose router is two listeners of the test.
struct World {
    proxy: SocketAddr,
    http: TcpListener,
    https: TcpListener,
    trigger: Trigger,
    context: Context,
}

impl World {
    async fn new() -> Self {
        let listener = || TcpListener::bind("127.0.0.1:0");
        let (http, https) = (listener().await.unwrap(), listener().await.unwrap());
        let raw = RawConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            router_http: http.local_addr().unwrap().into(),
            router_https: https.local_addr().unwrap().into(),
            ..RawConfig::default()
        };
        let (trigger, context) = Context::new("names-proxy");
        let server = Server::bind(Config::try_from(raw).unwrap(), context.clone())
            .await
            .unwrap();
        let proxy = server.local_addr();
        context.tasks.spawn("proxy", async move { server.run().await.unwrap() });
        Self {
            proxy,
            http,
            https,
            trigger,
            context,
        }
    }

    /// A connection to the proxy on which `text` was sent.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn stop(self) {
        self.trigger.fire();
        self.context.finish(Duration::from_secs(60)).await.unwrap();
    }
}

/// Reads until the empty line after a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.expect("a whole head");
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

async fn exactly(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A tunnel to a name of the stack leads to the router's HTTPS port, passes bytes both ways, and ends with either end.
#[tokio::test]
async fn a_tunnel_leads_to_the_router() {
    let world = World::new().await;
    let mut client = world
        .send("CONNECT uaa.weir.localhost:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let (mut router, _) = world.https.accept().await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
    client.write_all(b"hello").await.unwrap();
    assert_eq!(exactly(&mut router, 5).await, "hello");
    router.write_all(b"world").await.unwrap();
    assert_eq!(exactly(&mut client, 5).await, "world");
    // A half that is closed leaves the other one open.
    client.shutdown().await.unwrap();
    assert_eq!(router.read(&mut [0]).await.unwrap(), 0);
    router.write_all(b"late").await.unwrap();
    drop(router);
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "late");
    world.stop().await;
}

/// A request without TLS leads to the router's HTTP port, as the name itself is asked there: several on one connection,
/// without what is about the connection to the proxy.
#[tokio::test]
async fn requests_are_passed_on() {
    let world = World::new().await;
    let request = "POST http://App.weir.localhost/a?b=c HTTP/1.1\r\nHost: other\r\nProxy-Connection: keep-alive\r\n\
                   Connection: x-hop\r\nX-Hop: 1\r\nX-Kept: 2\r\nContent-Length: 3\r\n\r\nabc";
    let mut client = world.send(request).await;
    for round in 0..2 {
        let (mut router, _) = world.http.accept().await.unwrap();
        let seen = head(&mut router).await;
        assert!(seen.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{seen}");
        let lower = seen.to_ascii_lowercase();
        assert!(
            lower.contains("\r\nhost: app.weir.localhost\r\n") && lower.contains("\r\nx-kept: 2\r\n"),
            "{seen}"
        );
        assert!(
            !lower.contains("hop") && !lower.contains("proxy-") && !lower.contains("other"),
            "{seen}"
        );
        assert_eq!(exactly(&mut router, 3).await, "abc");
        let answer = "HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\nX-Answer: 7\r\n\r\nok";
        router.write_all(answer.as_bytes()).await.unwrap();
        let seen = head(&mut client).await;
        assert!(seen.starts_with("HTTP/1.1 201 Created\r\n"), "{seen}");
        assert!(
            seen.contains("7") && !seen.to_ascii_lowercase().contains("connection"),
            "{seen}"
        );
        assert_eq!(exactly(&mut client, 2).await, "ok");
        if round == 0 {
            client.write_all(request.as_bytes()).await.unwrap();
        }
    }
    world.stop().await;
}

/// Other hosts are reached from this machine.
#[tokio::test]
async fn other_hosts_are_reached() {
    let world = World::new().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let mut client = world
        .send(&format!("CONNECT {address} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    let (mut server, _) = other.accept().await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
    server.write_all(b"hi").await.unwrap();
    assert_eq!(exactly(&mut client, 2).await, "hi");
    world.stop().await;
}

/// What is refused is explained: another port of a name, a request that is for no proxy, a host that does not answer.
#[tokio::test]
async fn refusals_are_explained() {
    let world = World::new().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (request, status, text) in [
        ("CONNECT a.weir.localhost:22 HTTP/1.1\r\n\r\n".to_owned(), "403", "443"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "400", "https_proxy"),
        (
            "GET https://a.weir.localhost/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "400",
            "https_proxy",
        ),
        (format!("CONNECT {closed} HTTP/1.1\r\n\r\n"), "502", "refused"),
        (
            format!("GET http://{closed}/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            "502",
            "refused",
        ),
    ] {
        let mut client = world.send(&request).await;
        let mut answer = head(&mut client).await;
        let length = answer
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        answer += &exactly(&mut client, length.unwrap()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text),
            "{request}: {answer}"
        );
    }
    world.stop().await;
}

/// A proxy that stops ends its tunnels.
#[tokio::test]
async fn a_stop_ends_tunnels() {
    let world = World::new().await;
    let mut client = world
        .send("CONNECT uaa.weir.localhost:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let (mut router, _) = world.https.accept().await.unwrap();
    head(&mut client).await;
    world.trigger.fire();
    assert_eq!(router.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    world.stop().await;
}
