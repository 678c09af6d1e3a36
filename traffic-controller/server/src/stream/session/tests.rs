use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view;
use weir_flow::{LedgerSnapshot, Tracker};
use weir_proto::events;
use weir_service::Trigger;

use super::*;
use crate::stream::outgoing::Tally;

/// The feed of a test: a channel, and a signal for its orderly end.
struct TestFeed {
    messages: mpsc::Receiver<Arrival>,
    closed: mpsc::Sender<()>,
}

impl Feed for TestFeed {
    async fn next(&mut self) -> Result<Arrival, Refused> {
        match self.messages.recv().await {
            Some(message) => Ok(message),
            None => std::future::pending().await,
        }
    }

    fn try_next(&mut self) -> Option<Arrival> {
        self.messages.try_recv().ok()
    }

    async fn close(self) {
        self.closed.send(()).await.unwrap();
    }
}

#[derive(Default)]
struct TestObserver {
    frames: AtomicU64,
}

impl DeliveryObserver for TestObserver {
    fn delivered(&self, tally: &Tally) {
        self.frames.fetch_add(tally.frames, Ordering::Relaxed);
    }
}

/// A running stream and its surroundings.
struct Setup {
    client: DuplexStream,
    messages: mpsc::Sender<Arrival>,
    ended: tokio::task::JoinHandle<End>,
    feed_closed: mpsc::Receiver<()>,
    trigger: Trigger,
    ledger: Arc<Ledger>,
    observer: Arc<TestObserver>,
}

impl Setup {
    fn start(socket_size: usize, patience: Patience) -> Self {
        let (client, server) = duplex(socket_size);
        let (messages, receiver) = mpsc::channel(64);
        let (closed, feed_closed) = mpsc::channel(1);
        let (trigger, shutdown) = Shutdown::new();
        let ledger = Ledger::in_memory("traffic-controller");
        let observer = Arc::new(TestObserver::default());
        let (ledger_of_stream, books_of_stream) = (Arc::clone(&ledger), Arc::clone(&observer));
        let ended = tokio::spawn(async move {
            let stream = Stream {
                filter: Filter::Everything,
                patience,
                caller: &Caller::new("tester", weir_auth::Scope::Everything),
                shutdown: &shutdown,
                ledger: &ledger_of_stream,
                observer: &*books_of_stream,
            };
            stream
                .run(
                    server,
                    &[],
                    TestFeed {
                        messages: receiver,
                        closed,
                    },
                )
                .await
        });
        Self {
            client,
            messages,
            ended,
            feed_closed,
            trigger,
            ledger,
            observer,
        }
    }

    async fn send(&self, first: u32, count: u32) {
        self.messages.send(message(first, count)).await.unwrap();
    }
}

/// Returns numbered log lines of about 100 bytes.
fn message(first: u32, count: u32) -> Arrival {
    let mut builder = BatchBuilder::new();
    for number in first..first + count {
        let line = format!("{number:0>80}");
        builder.push_with(|out| {
            Writer::new(out)
                .timestamp(1)
                .source_id("app")
                .log(line.as_bytes(), view::Stream::Out);
        });
    }
    let message = builder.finish().bytes().clone();
    Arrival { message, receipt: None }
}

fn number(message: &Message) -> Option<u32> {
    let Message::Binary(v1) = message else { return None };
    let envelope = events::Envelope::decode(v1.clone()).unwrap();
    String::from_utf8(envelope.log_message?.message.to_vec())
        .unwrap()
        .parse()
        .ok()
}

async fn websocket(client: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(client, Role::Client, Some(WebSocketConfig::default())).await
}

fn totals(ledger: &Ledger) -> (u64, u64, u64) {
    let LedgerSnapshot { received, sent, .. } = ledger.snapshot();
    (received, sent, ledger.snapshot().dropped_total())
}

/// A client gets a ping at once and then every line as a binary message in order. Receipts are released. When the
/// client closes, it gets an answer, and the feed is closed in order.
#[tokio::test]
async fn lines_arrive_in_order_and_a_close_is_answered() {
    let mut setup = Setup::start(4096, Patience::from(RawTimeouts::default()));
    let tracker = Tracker::new();
    let mut last = message(900, 100);
    last.receipt = Some(tracker.receipt(1));
    setup.send(0, 900).await;
    setup.messages.send(last).await.unwrap();
    let mut client = websocket(setup.client).await;
    assert!(matches!(client.next().await.unwrap().unwrap(), Message::Ping(_)));
    for expected in 0..1000 {
        let message = client.next().await.unwrap().unwrap();
        assert_eq!(number(&message), Some(expected), "{message:?}");
    }
    client.close(None).await.unwrap();
    let answer = client.next().await.unwrap().unwrap();
    let Message::Close(Some(close)) = answer else {
        unreachable!("{answer:?}")
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1000, ""));
    assert!(client.next().await.is_none());
    assert_eq!(setup.ended.await.unwrap(), End::Closed(None));
    assert_eq!(setup.feed_closed.recv().await, Some(()));
    assert_eq!(tracker.progress().handed_on, 1);
    assert_eq!(totals(&setup.ledger), (1000, 1000, 0));
    assert_eq!(setup.observer.frames.load(Ordering::Relaxed), 1000);
}

/// A client that does not read is disconnected in time, and what it did not accept is counted as `slow_consumer`.
#[tokio::test(start_paused = true)]
async fn a_slow_consumer_is_cut_and_its_losses_are_counted() {
    let setup = Setup::start(4096, Patience::from(RawTimeouts::default()));
    setup.send(0, 1000).await;
    assert_eq!(setup.ended.await.unwrap(), End::Slow);
    let (received, sent, dropped) = totals(&setup.ledger);
    assert_eq!((received, sent + dropped), (1000, 1000));
    assert!(dropped >= 900, "{dropped}");
    assert_eq!(setup.ledger.snapshot().dropped[0].reason, "slow_consumer");
}

/// A client that reads slowly but steadily is not disconnected.
#[tokio::test(start_paused = true)]
async fn a_consumer_that_moves_is_not_slow() {
    let mut setup = Setup::start(1024, Patience::from(RawTimeouts::default()));
    setup.send(0, 400).await;
    let mut left = 400 * 80;
    let mut chunk = [0; 4096];
    while left > 0 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let read = setup.client.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0, "the stream was cut");
        left -= read.min(left);
    }
    setup.trigger.fire();
    tokio::spawn(async move { while setup.client.read(&mut chunk).await.unwrap_or(0) > 0 {} });
    assert_eq!(setup.ended.await.unwrap(), End::Finished);
    assert_eq!(totals(&setup.ledger), (400, 400, 0));
}

/// Without a pong the stream is closed with code 1008 and the original's text.
#[tokio::test(start_paused = true)]
async fn an_unanswered_ping_ends_the_stream() {
    let mut setup = Setup::start(4096, Patience::from(RawTimeouts::default()));
    let started = Instant::now();
    let mut received = Vec::new();
    // The test reads bytes, so that no library answers the ping.
    setup.client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received[..2], [0x89, 0x00]);
    assert_eq!(received[2], 0x88);
    assert_eq!(received[4..6], 1008_u16.to_be_bytes());
    assert_eq!(&received[6..], PING_EXPIRED.as_bytes());
    assert!(started.elapsed() >= Duration::from_secs(30));
    assert_eq!(setup.ended.await.unwrap(), End::Expired);
}

/// Invalid data is answered with a close frame whose code names the violation.
#[tokio::test]
async fn garbage_ends_the_stream_with_a_protocol_error() {
    for (garbage, code) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 1002_u16),
        (&[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
    ] {
        let mut setup = Setup::start(4096, Patience::from(RawTimeouts::default()));
        setup.client.write_all(garbage).await.unwrap();
        let mut received = Vec::new();
        setup.client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received[received.len() - 4..received.len() - 2], [0x88, 2]);
        assert_eq!(received[received.len() - 2..], code.to_be_bytes());
        assert!(matches!(setup.ended.await.unwrap(), End::Violated(_)));
    }
}

/// Data from the client is ignored, and its pings are answered, also while lines are sent.
#[tokio::test]
async fn data_is_ignored_and_pings_are_answered() {
    let mut setup = Setup::start(1 << 16, Patience::from(RawTimeouts::default()));
    let mut client = websocket(setup.client).await;
    client.send(Message::text("x".repeat(100_000))).await.unwrap();
    client.send(Message::Ping(b"hello".to_vec().into())).await.unwrap();
    for first in [0, 100] {
        setup.messages.send(message(first, 100)).await.unwrap();
    }
    let (mut lines, mut pongs) = (0, 0);
    while lines < 200 || pongs < 1 {
        match client.next().await.unwrap().unwrap() {
            Message::Pong(payload) => {
                assert_eq!(&payload[..], b"hello");
                pongs += 1;
            }
            Message::Binary(_) => lines += 1,
            _ => {}
        }
    }
    drop(client);
    assert_eq!(setup.ended.await.unwrap(), End::Gone);
    assert_eq!(setup.feed_closed.recv().await, Some(()));
}

/// If a client disconnects with lines in flight, these are counted as `consumer_gone`.
#[tokio::test]
async fn a_vanished_consumer_is_counted() {
    let setup = Setup::start(1024, Patience::from(RawTimeouts::default()));
    setup.send(0, 500).await;
    drop(setup.client);
    assert_eq!(setup.ended.await.unwrap(), End::Gone);
    let (received, sent, dropped) = totals(&setup.ledger);
    assert_eq!(received, sent + dropped);
    assert!(received <= 500);
    if received > 0 {
        assert_eq!(setup.ledger.snapshot().dropped[0].reason, "consumer_gone");
    }
}

/// On shutdown, lines that have arrived are written, and then the stream closes with code 1000.
#[tokio::test]
async fn shutdown_drains_and_closes() {
    let setup = Setup::start(1 << 20, Patience::from(RawTimeouts::default()));
    setup.send(0, 100).await;
    let mut client = websocket(setup.client).await;
    let mut lines = 0;
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Binary(_) => lines += 1,
            Message::Close(Some(close)) => {
                assert_eq!(u16::from(close.code), 1000);
                break;
            }
            _ => {}
        }
        if lines == 100 {
            setup.trigger.fire();
        }
    }
    assert_eq!(lines, 100);
    assert_eq!(setup.ended.await.unwrap(), End::Finished);
}
