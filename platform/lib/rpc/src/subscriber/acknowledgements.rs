//! The acknowledgements of all subscriptions at one doppler, which are sent on one stream.

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

/// How often acknowledgements are sent.
const INTERVAL: Duration = Duration::from_millis(40);

/// How long acknowledgements are still sent after shutdown was requested, for messages that were handed on just before.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(100);

/// The progress of all subscriptions at one doppler.
#[derive(Debug)]
pub(super) struct Acknowledgements {
    channel: Channel,
    ledger: Arc<Ledger>,
    subscriptions: Mutex<HashMap<u64, Entry>>,
    registered: tokio::sync::Notify,
}

/// The progress of one subscription.
#[derive(Debug)]
struct Entry {
    tracker: Arc<Tracker>,
    /// The number of the last message that was acknowledged to the doppler.
    acknowledged: u64,
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
        self.subscriptions.lock().insert(
            subscription,
            Entry {
                tracker,
                acknowledged: 0,
            },
        );
        self.registered.notify_one();
    }

    pub(super) fn unregister(&self, subscription: u64) {
        self.subscriptions.lock().remove(&subscription);
    }

    /// Returns the acknowledgements that are new since the last call, or those of all subscriptions if `all` is true.
    fn due(&self, all: bool) -> Vec<Acknowledged> {
        let mut due = Vec::new();
        for (&subscription, entry) in self.subscriptions.lock().iter_mut() {
            let sequence = entry.tracker.progress().handed_on;
            if sequence > entry.acknowledged || (all && sequence > 0) {
                entry.acknowledged = sequence;
                due.push(Acknowledged { subscription, sequence });
            }
        }
        due
    }

    /// Sends acknowledgements until shortly after `shutdown` is requested, and reconnects as needed.
    pub(super) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let ended = async {
            shutdown.requested().await;
            tokio::time::sleep(SHUTDOWN_GRACE).await;
        };
        // The second future never ends by itself.
        tokio::select! {
            () = ended => {}
            () = self.send_and_reconnect() => {}
        }
    }

    async fn send_and_reconnect(&self) {
        let mut backoff = Backoff::between_parts();
        loop {
            // An original doppler has no such service, and no subscription at one registers: there is no call to it.
            if self.subscriptions.lock().is_empty() {
                self.registered.notified().await;
            }
            let (messages, outbox) = mpsc::channel(1);
            let call = self
                .channel
                .stream(ACKNOWLEDGE_PATH, Request::new(ReceiverStream::new(outbox)));
            // The call has an answer only at its end. It is polled while acknowledgements are sent, so that its failure
            // ends both.
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
        // The last acknowledgements on the previous stream may not have arrived, so a new stream begins with all of
        // them.
        let mut all = true;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let due = self.due(all);
            if due.is_empty() {
                if self.subscriptions.lock().is_empty() {
                    self.registered.notified().await;
                }
                continue;
            }
            // Drops that are not on file would be forgotten after a kill. As long as the ledger cannot be written,
            // nothing is acknowledged.
            if let Some(mark) = self.ledger.unwritten() {
                self.ledger.written(mark).await;
            }
            if messages.send(encode_acknowledgements(&due).into()).await.is_err() {
                return;
            }
            all = false;
            backoff.reset();
        }
    }
}
