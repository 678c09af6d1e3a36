//! One doppler, and one subscription's stream from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};
use weir_flow::{Ledger, Tracker};
use weir_service::{Shutdown, Tasks};

use super::acknowledgements::Acknowledgements;
use super::{Delivery, Durability, Trackers};
use crate::backoff::Backoff;
use crate::channel::{Channel, Target};
use crate::codec::Frame;
use crate::link::{Delivered, LINK_METADATA};

const BATCHED_RECEIVER_PATH: &str = "/loggregator.v2.Egress/BatchedReceiver";

/// A doppler, shared by all subscriptions of the process.
#[derive(Debug)]
pub(super) struct Doppler {
    channel: Channel,
    acknowledgements: Arc<Acknowledgements>,
    /// Streams that are open now.
    streams: AtomicUsize,
    shutdown: Shutdown,
}

impl Doppler {
    pub(super) fn new(target: &Target, ledger: &Arc<Ledger>, shutdown: &Shutdown, tasks: &Tasks) -> Arc<Self> {
        let channel = Channel::new(target);
        let acknowledgements = Acknowledgements::new(channel.clone(), Arc::clone(ledger));
        let sending = Arc::clone(&acknowledgements);
        tasks.spawn("acknowledgements", sending.run(shutdown.clone()));
        Arc::new(Self {
            channel,
            acknowledgements,
            streams: AtomicUsize::new(0),
            shutdown: shutdown.clone(),
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }
}

/// The task of one subscription at one doppler.
pub(super) struct Subscribing {
    pub(super) doppler: Arc<Doppler>,
    pub(super) request: Bytes,
    pub(super) durability: Durability,
    pub(super) deliveries: mpsc::Sender<Delivery>,
    pub(super) closed: CancellationToken,
    pub(super) trackers: Arc<Trackers>,
}

impl Subscribing {
    /// Streams and reconnects until the subscription is dropped.
    pub(super) async fn run(self) {
        let closed = self.closed.clone();
        let shutdown = self.doppler.shutdown.clone();
        tokio::select! {
            () = closed.cancelled() => {}
            () = shutdown.requested() => closed.cancelled().await,
            () = self.stream_and_reconnect() => {}
        }
    }

    async fn stream_and_reconnect(&self) {
        let mut backoff = Backoff::between_parts();
        loop {
            match self.open().await {
                Ok((messages, subscription)) => {
                    backoff.reset();
                    self.doppler.streams.fetch_add(1, Ordering::Relaxed);
                    let open = OpenStream(&self.doppler);
                    let ended = self.read(messages, subscription).await;
                    drop(open);
                    tracing::debug!(doppler = self.doppler.channel.address(), error = %ended, "subscription ended");
                }
                Err(status) => {
                    tracing::debug!(doppler = self.doppler.channel.address(), error = %status, "cannot subscribe");
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Subscribes; returns the messages, and the subscription's number if the doppler wants acknowledgements.
    async fn open(&self) -> Result<(Streaming<Bytes>, Option<u64>), Status> {
        let frame = Frame::from(self.request.clone());
        let mut request = Request::new(futures::stream::once(async move { frame }));
        let durability = match self.durability {
            Durability::Live => "live",
            Durability::Durable => "durable",
        };
        request
            .metadata_mut()
            .insert(LINK_METADATA, tonic::metadata::MetadataValue::from_static(durability));
        let response = self.doppler.channel.stream(BATCHED_RECEIVER_PATH, request).await?;
        let subscription = response
            .metadata()
            .get(LINK_METADATA)
            .and_then(|id| id.to_str().ok())
            .and_then(|id| id.parse().ok());
        Ok((response.into_inner(), subscription))
    }

    /// Reads messages to the end of the stream.
    async fn read(&self, mut messages: Streaming<Bytes>, subscription: Option<u64>) -> Status {
        let tracker = subscription.map(|id| {
            let tracker = Tracker::new();
            self.trackers.lock().push(Arc::clone(&tracker));
            self.doppler.acknowledgements.register(id, Arc::clone(&tracker));
            Registered {
                doppler: &self.doppler,
                trackers: &self.trackers,
                id,
                tracker,
            }
        });
        loop {
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Status::ok("the doppler ended the stream"),
                Err(status) => return status,
            };
            let delivery = match (&tracker, Delivered::take_off(&message)) {
                (Some(registered), Some((delivered, message))) => Delivery {
                    message,
                    envelopes: Some(delivered.envelopes),
                    deprecated_tags: delivered.deprecated_tags,
                    receipt: Some(registered.tracker.receipt(delivered.sequence)),
                },
                _ => Delivery {
                    message,
                    envelopes: None,
                    deprecated_tags: true,
                    receipt: None,
                },
            };
            if self.deliveries.send(delivery).await.is_err() {
                return Status::cancelled("the subscription was dropped");
            }
        }
    }
}

struct OpenStream<'a>(&'a Doppler);

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A subscription whose acknowledgements are sent as long as this lives.
struct Registered<'a> {
    doppler: &'a Doppler,
    trackers: &'a Trackers,
    id: u64,
    tracker: Arc<Tracker>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.doppler.acknowledgements.unregister(self.id);
        self.trackers
            .lock()
            .retain(|tracker| !Arc::ptr_eq(tracker, &self.tracker));
    }
}
