//! Routes that come over NATS, from a bus of a few lines.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weir_config::Duration;

use crate::backend::{Backend, OK};
use crate::client::{ask_once, get};
use crate::harness::{Router, router_with};

/// A bus for one client at a time.
struct Bus {
    address: std::net::SocketAddr,
    /// What was published: subject and payload.
    published: Arc<Mutex<Vec<(String, Value)>>>,
    /// What the client is sent: subject, the subject of the answer, payload. Without a subject its connection ends.
    sender: mpsc::Sender<(String, String, Vec<u8>)>,
}

impl Bus {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (sender, mut queue) = mpsc::channel::<(String, String, Vec<u8>)>(64);
        let bus = Self {
            address: listener.local_addr().expect("an address"),
            published: Arc::default(),
            sender,
        };
        let published = Arc::clone(&bus.published);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reader, mut writer) = stream.into_split();
                let mut reader = BufReader::new(reader);
                let info = "INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"max_payload\":1048576,\"proto\":1,\"headers\":true}\r\n";
                writer.write_all(info.as_bytes()).await.expect("written");
                let mut subscribed = HashMap::new();
                loop {
                    let mut line = String::new();
                    tokio::select! {
                        read = reader.read_line(&mut line) => {
                            if read.unwrap_or(0) == 0 {
                                break;
                            }
                            let words: Vec<_> = line.split_whitespace().collect();
                            match words.as_slice() {
                                ["PING"] => writer.write_all(b"PONG\r\n").await.expect("written"),
                                ["SUB", subject, id] => {
                                    subscribed.insert((*subject).to_owned(), (*id).to_owned());
                                }
                                ["PUB", subject, .., length] => {
                                    let length: usize = length.parse().expect("a length");
                                    let mut payload = vec![0; length + 2];
                                    reader.read_exact(&mut payload).await.expect("a payload");
                                    let payload = serde_json::from_slice(&payload[..length]).expect("JSON");
                                    published.lock().push(((*subject).to_owned(), payload));
                                }
                                _ => {}
                            }
                        }
                        message = queue.recv(), if subscribed.contains_key("router.*") => {
                            let Some((subject, reply, payload)) = message else { return };
                            if subject.is_empty() {
                                break;
                            }
                            let id = &subscribed["router.*"];
                            let head = format!("MSG {subject} {id} {reply} {}\r\n", payload.len());
                            writer.write_all(head.as_bytes()).await.expect("written");
                            writer.write_all(&payload).await.expect("written");
                            writer.write_all(b"\r\n").await.expect("written");
                        }
                    }
                }
            }
        });
        bus
    }

    async fn send(&self, subject: &str, reply: &str, payload: impl Into<Vec<u8>>) {
        self.sender
            .send((subject.to_owned(), reply.to_owned(), payload.into()))
            .await
            .expect("a bus");
    }

    /// What was published to a subject.
    fn published_to(&self, subject: &str) -> Vec<Value> {
        let published = self.published.lock();
        let fitting = published.iter().filter(|(own, _)| own == subject);
        fitting.map(|(_, payload)| payload.clone()).collect()
    }
}

async fn router_at(bus: &Bus) -> Router {
    router_with(|raw| {
        raw.nats.servers = vec![bus.address.into()];
        raw.table.prune_interval = Duration::from_millis(20);
        raw.table.stale_threshold = Duration::from_secs(1);
    })
    .await
}

fn registration(backend: &Backend) -> Vec<u8> {
    let message = json!({"uris": ["a.example"], "host": "127.0.0.1", "port": backend.address.port(), "app": "app-1"});
    message.to_string().into_bytes()
}

async fn until_status(router: &Router, status: u16) {
    weir_eventually::eventually_async("the route is as it should be", async || {
        ask_once(router.address, &get("a.example")).await.status() == status
    })
    .await;
}

/// The router says that it is there, answers who greets it, and takes routes and their ends; nonsense does not disturb it.
#[tokio::test]
async fn routes_come_and_go() {
    let bus = Bus::start().await;
    let router = router_at(&bus).await;
    let backend = Backend::answering(OK).await;
    weir_eventually::eventually("the router says that it is there", || {
        !bus.published_to("router.start").is_empty()
    })
    .await;
    let start = bus.published_to("router.start").remove(0);
    assert_eq!(start["minimumRegisterIntervalInSeconds"], 20);
    assert_eq!(start["pruneThresholdInSeconds"], 1);
    assert_eq!(start["hosts"], json!(["127.0.0.1"]));
    bus.send("router.greet", "inbox.1", "").await;
    weir_eventually::eventually("the greeting is answered", || {
        bus.published_to("inbox.1") == [start.clone()]
    })
    .await;
    bus.send("router.register", "", "{nonsense").await;
    bus.send("router.register", "", registration(&backend)).await;
    until_status(&router, 200).await;
    bus.send("router.unregister", "", registration(&backend)).await;
    until_status(&router, 404).await;
}

/// A route that is not registered again goes, unless NATS is away: then it stays, and all are asked to register again when
/// NATS is back.
#[tokio::test]
async fn without_nats_routes_stay() {
    let bus = Bus::start().await;
    let router = router_at(&bus).await;
    let backend = Backend::answering(OK).await;
    bus.send("router.register", "", registration(&backend)).await;
    until_status(&router, 200).await;
    until_status(&router, 404).await;
    bus.send("router.register", "", registration(&backend)).await;
    until_status(&router, 200).await;
    bus.send("", "", "").await;
    weir_eventually::eventually("the router says again that it is there", || {
        bus.published_to("router.start").len() >= 2
    })
    .await;
    bus.send("router.register", "", registration(&backend)).await;
    until_status(&router, 200).await;
}
