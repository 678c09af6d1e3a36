//! Streams of events, byte by byte.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use weir_auth::revocation::Revoked;
use weir_routing_api_client::EventParser;
use weir_tls::{ALPN_HTTP1, ClientTls, server_name};

use crate::common::{Api, Deployment};

/// A subscription whose bytes are read as they are sent.
pub(crate) struct Stream {
    tls: TlsStream<TcpStream>,
    head: String,
    parser: EventParser,
    /// Bytes of a chunked body that are not a whole chunk yet.
    rest: Vec<u8>,
}

impl Stream {
    /// Subscribes, and returns when the head of the answer is there.
    pub(crate) async fn open(api: &Api, path: &str) -> Self {
        let mut tls = Self::ask(api, path).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tls.read_u8().await.unwrap());
        }
        Self {
            tls,
            head: String::from_utf8(head).unwrap().to_lowercase(),
            parser: EventParser::default(),
            rest: Vec::new(),
        }
    }

    /// Sends the request of a subscription, and reads nothing.
    pub(crate) async fn ask(api: &Api, path: &str) -> TlsStream<TcpStream> {
        let tls = ClientTls::mutual(&api.identity).unwrap().with_alpn(&[ALPN_HTTP1]);
        let tcp = TcpStream::connect(api.address).await.unwrap();
        let mut tls = tls
            .connector()
            .connect(server_name("routing-api").unwrap(), tcp)
            .await
            .unwrap();
        let request = format!(
            "GET /routing/v1{path} HTTP/1.1\r\nhost: api\r\nauthorization: bearer {}\r\n\r\n",
            api.token
        );
        tls.write_all(request.as_bytes()).await.unwrap();
        tls
    }

    pub(crate) fn status(&self) -> &str {
        self.head.split_ascii_whitespace().nth(1).unwrap()
    }

    /// The id, name and data of the next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some(event) = self.parser.next_event().unwrap() {
                let data = serde_json::from_slice(&event.data).unwrap();
                return Some((event.id, event.name, data));
            }
            let mut piece = [0; 4096];
            let read = self.tls.read(&mut piece).await.unwrap_or(0);
            if read == 0 {
                return None;
            }
            self.rest.extend_from_slice(&piece[..read]);
            while let Some(chunk) = self.chunk() {
                if chunk.is_empty() {
                    return None;
                }
                self.parser.push(&chunk);
            }
        }
    }

    /// The next whole chunk of the body.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = self.rest.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&self.rest[..end]).unwrap(), 16).unwrap();
        let whole = end + 2 + size + 2;
        if self.rest.len() < whole {
            return None;
        }
        let chunk = self.rest[end + 2..end + 2 + size].to_vec();
        self.rest.drain(..whole);
        Some(chunk)
    }
}

fn route(port: u16) -> Value {
    json!({"route": "a.example", "port": port, "ip": "1.2.3.4", "ttl": 60})
}

/// Changes arrive in order, with ids from 0, and what was before is not repeated. HTTP and TCP routes have streams of their
/// own.
pub(crate) async fn changes_arrive(api: &Api) {
    api.post("/routes", &json!([route(1)])).await.done(201);
    let mut stream = Stream::open(api, "/events").await;
    assert_eq!(stream.status(), "200");
    for line in [
        "content-type: text/event-stream; charset=utf-8\r\n",
        "cache-control: no-cache, no-store, must-revalidate\r\n",
        "connection: keep-alive\r\n",
    ] {
        assert!(stream.head.contains(line), "{}", stream.head);
    }
    let mut tcp = Stream::open(api, "/tcp_routes/events").await;
    api.post("/routes", &json!([route(2), route(1)])).await.done(201);
    api.call(Method::DELETE, "/routes", &json!([route(2)])).await.done(204);
    let (id, name, made) = stream.next().await.unwrap();
    assert_eq!((id.as_str(), name.as_str()), ("0", "Upsert"));
    assert_eq!(
        (&made["port"], &made["modification_tag"]["index"]),
        (&json!(2), &json!(0))
    );
    // The refresh of the first route is no event.
    let (id, name, removed) = stream.next().await.unwrap();
    assert_eq!((id.as_str(), name.as_str(), removed), ("1", "Delete", made));
    let mut second = Stream::open(api, "/events").await;
    api.post("/routes", &json!([route(3)])).await.done(201);
    assert_eq!(second.next().await.unwrap().0, "0");
    assert_eq!(stream.next().await.unwrap().0, "2");
    let group = api.default_group().await;
    let route = json!({"router_group_guid": group, "port": 1024, "backend_ip": "1.2.3.4", "backend_port": 1});
    api.post("/tcp_routes/create", &json!([route])).await.done(201);
    let (id, name, made) = tcp.next().await.unwrap();
    assert_eq!(
        (id.as_str(), name.as_str(), &made["port"]),
        ("0", "Upsert", &json!(1024))
    );
}

/// A stream ends when the server stops, and when its token is revoked.
#[tokio::test]
async fn streams_end() {
    let deployment = Deployment::on_sqlite().await;
    let mut api = deployment.start().await;
    let mut lasting = Stream::open(&api, "/events").await;
    api.token = deployment.issuer.token("somebody", &["routing.routes.read"]);
    let mut ending = Stream::open(&api, "/events").await;
    deployment.issuer.revoke(Revoked::User {
        user_id: "id-of-somebody".to_owned(),
        client_id: None,
    });
    assert_eq!(ending.next().await, None);
    api.begin_to_stop();
    assert_eq!(lasting.next().await, None);
    api.stop().await;
}
