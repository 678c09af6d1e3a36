//! The acknowledgements of all subscriptions at one doppler, gathered into one stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use weir_flow::{Ledger, Tracker};
use weir_net::{Backoff, Channel, Frame};
use weir_service::Shutdown;

use crate::link::{ACKNOWLEDGE_PATH, Acknowledged, encode_acknowledgements};

/// How often acknowledgements leave.
const INTERVAL: Duration = Duration::from_millis(40);

/// How long they still leave after shutdown was requested: for what was handed on just before.
const LINGER: Duration = Duration::from_millis(100);

/// The books of all subscriptions at one doppler.
#[derive(Debug)]
pub(super) struct Acknowledgements {
    channel: Channel,
    ledger: Arc<Ledger>,
    subscriptions: Mutex<HashMap<u64, Book>>,
    registered: tokio::sync::Notify,
}

#[derive(Debug)]
struct Book {
    tracker: Arc<Tracker>,
    /// What the doppler was told last.
    told: u64,
}

impl Acknowledgements {
    pub(super) fn new(channel: Channel, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            channel,
            ledger,
            subscriptions: Mutex::default(),
            registered: tokio::sync::Notify::new(),
        })
    }

    pub(super) fn register(&self, subscription: u64, tracker: Arc<Tracker>) {
        self.subscriptions
            .lock()
            .insert(subscription, Book { tracker, told: 0 });
        self.registered.notify_one();
    }

    pub(super) fn unregister(&self, subscription: u64) {
        self.subscriptions.lock().remove(&subscription);
    }

    /// What is new since the last call; everything, if `anew`.
    fn news(&self, anew: bool) -> Vec<Acknowledged> {
        let mut news = Vec::new();
        for (&subscription, book) in self.subscriptions.lock().iter_mut() {
            let sequence = book.tracker.progress().handed_on;
            if sequence > book.told || (anew && sequence > 0) {
                book.told = sequence;
                news.push(Acknowledged { subscription, sequence });
            }
        }
        news
    }

    /// Sends acknowledgements as long as there are subscriptions; reconnects as needed.
    pub(super) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let ended = async {
            shutdown.requested().await;
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            () = ended => {}
            () = self.send_and_reconnect() => {}
        }
    }

    async fn send_and_reconnect(&self) {
        let mut backoff = Backoff::between_parts();
        loop {
            if self.subscriptions.lock().is_empty() {
                self.registered.notified().await;
            }
            let (messages, outbox) = mpsc::channel(1);
            let call = self
                .channel
                .stream(ACKNOWLEDGE_PATH, Request::new(ReceiverStream::new(outbox)));
            tokio::select! {
                answer = async {
                    let mut answer = call.await?.into_inner();
                    while answer.message().await?.is_some() {}
                    Ok::<_, tonic::Status>(())
                } => {
                    if let Err(error) = answer {
                        tracing::debug!(%error, "acknowledgement stream ended");
                    }
                }
                () = self.send(messages, &mut backoff) => {}
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn send(&self, messages: mpsc::Sender<Frame>, backoff: &mut Backoff) {
        let mut anew = true;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let news = self.news(anew);
            if news.is_empty() {
                if self.subscriptions.lock().is_empty() {
                    self.registered.notified().await;
                }
                continue;
            }
            // Our word would be worth nothing after a kill: as long as the file cannot be written, nothing is acknowledged.
            if let Some(mark) = self.ledger.unwritten() {
                self.ledger.written(mark).await;
            }
            if messages.send(encode_acknowledgements(&news).into()).await.is_err() {
                return;
            }
            anew = false;
            backoff.reset();
        }
    }
}
