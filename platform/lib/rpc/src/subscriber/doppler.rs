//! A doppler, and the stream of one subscription from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Request, Status};
use weir_flow::{Ledger, Tracker};
use weir_net::{Backoff, Channel, Frame, Messages, Target};
use weir_service::{Shutdown, Tasks};

use super::acknowledgements::Acknowledgements;
use super::{Delivery, Durability, Refused, Trackers};
use crate::link::{Delivered, LINK_METADATA};

/// The full path of the subscription call.
const BATCHED_RECEIVER_PATH: &str = "/loggregator.v2.Egress/BatchedReceiver";

/// The shortest time between two log lines about durable subscriptions that are refused.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// An event of a subscription at one doppler.
pub(super) enum Event {
    /// The doppler has accepted the subscription.
    Opened,
    /// The doppler cannot be reached, or answers with an error. It is tried again. The event comes once for a
    /// subscription.
    Unreachable,
    /// A message has arrived.
    Message(Delivery),
    /// The doppler refuses the subscription, which is not durable. It is tried again if the reader waits for another
    /// event.
    Refused(Refused),
}

/// A doppler, shared by all subscriptions of the process.
#[derive(Debug)]
pub(super) struct Doppler {
    channel: Channel,
    acknowledgements: Arc<Acknowledgements>,
    /// The number of streams that are open now.
    streams: AtomicUsize,
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
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }
}

/// One subscription at one doppler.
pub(super) struct DopplerSubscription {
    doppler: Arc<Doppler>,
    request: Bytes,
    durability: Durability,
    trackers: Arc<Trackers>,
    backoff: Backoff,
    /// Whether the stream has ended or could not be opened, so that the next attempt has to wait.
    failed: bool,
    /// Whether the reader was told that the doppler cannot be reached.
    unreachable_reported: bool,
    open: Option<OpenStream>,
}

impl DopplerSubscription {
    pub(super) const fn new(
        doppler: Arc<Doppler>,
        request: Bytes,
        durability: Durability,
        trackers: Arc<Trackers>,
    ) -> Self {
        Self {
            doppler,
            request,
            durability,
            trackers,
            backoff: Backoff::of_subscriptions(),
            failed: false,
            unreachable_reported: false,
            open: None,
        }
    }

    /// Waits for the next event. Opens the stream where there is none, as often as needed.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            let Some(open) = &mut self.open else {
                if self.failed {
                    tokio::time::sleep(self.backoff.next_delay()).await;
                    self.failed = false;
                }
                match Self::open(Arc::clone(&self.doppler), self.request.clone(), self.durability).await {
                    Ok((messages, subscription)) => {
                        self.backoff.reset();
                        let tracked = subscription.map(|id| Tracked::register(id, &self.doppler, &self.trackers));
                        self.open = Some(OpenStream::new(messages, tracked, Arc::clone(&self.doppler)));
                        return Event::Opened;
                    }
                    Err(status) => {
                        self.failed = true;
                        if let Some(event) = self.not_opened(status) {
                            return event;
                        }
                    }
                }
                continue;
            };
            match open.messages.message().await {
                Ok(Some(message)) => return Event::Message(open.delivery(message)),
                ended => {
                    let error = ended
                        .err()
                        .unwrap_or_else(|| Status::ok("the doppler ended the stream"));
                    tracing::debug!(doppler = self.doppler.channel.address(), %error, "subscription ended");
                    self.open = None;
                    self.failed = true;
                }
            }
        }
    }

    /// The event for the reader after an attempt to open the stream has failed, if there is one.
    fn not_opened(&mut self, status: Status) -> Option<Event> {
        let doppler = self.doppler.channel.address();
        if !matches!(status.code(), Code::ResourceExhausted | Code::InvalidArgument) {
            tracing::debug!(doppler, error = %status, "cannot subscribe");
            return (!std::mem::replace(&mut self.unreachable_reported, true)).then_some(Event::Unreachable);
        }
        match self.durability {
            Durability::Live => Some(Event::Refused(Refused {
                doppler: doppler.to_owned(),
                status: Box::new(status),
            })),
            Durability::Durable => {
                let error = status.message();
                weir_service::limited!(
                    error,
                    REFUSAL_LOG_INTERVAL,
                    doppler,
                    error,
                    "the doppler refuses a durable subscription: envelopes are not stored until it accepts it"
                );
                None
            }
        }
    }

    /// Opens a stream. Returns its messages, and the subscription's number if the doppler expects acknowledgements.
    async fn open(
        doppler: Arc<Doppler>,
        request: Bytes,
        durability: Durability,
    ) -> Result<(Messages, Option<u64>), Status> {
        let frame = Frame::from(request);
        let mut request = Request::new(futures::stream::once(async move { frame }));
        let durability = match durability {
            Durability::Live => "live",
            Durability::Durable => "durable",
        };
        request
            .metadata_mut()
            .insert(LINK_METADATA, tonic::metadata::MetadataValue::from_static(durability));
        let response = doppler.channel.stream(BATCHED_RECEIVER_PATH, request).await?;
        let subscription = response
            .metadata()
            .get(LINK_METADATA)
            .and_then(|id| id.to_str().ok())
            .and_then(|id| id.parse().ok());
        Ok((response.into_inner(), subscription))
    }
}

/// An open stream of a subscription.
struct OpenStream {
    messages: Messages,
    /// Set if the doppler expects acknowledgements.
    tracked: Option<Tracked>,
    doppler: Arc<Doppler>,
}

impl OpenStream {
    fn new(messages: Messages, tracked: Option<Tracked>, doppler: Arc<Doppler>) -> Self {
        doppler.streams.fetch_add(1, Ordering::Relaxed);
        Self {
            messages,
            tracked,
            doppler,
        }
    }

    fn delivery(&self, message: Bytes) -> Delivery {
        match (&self.tracked, Delivered::split_from(&message)) {
            (Some(tracked), Some((delivered, message))) => Delivery {
                message,
                envelopes: Some(delivered.envelopes),
                deprecated_tags: delivered.deprecated_tags,
                receipt: Some(tracked.tracker.receipt(delivered.sequence)),
            },
            // An original doppler does not number its messages and expects no acknowledgements.
            _ => Delivery {
                message,
                envelopes: None,
                deprecated_tags: true,
                receipt: None,
            },
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.doppler.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tracker of a stream. As long as it exists, the stream's messages are acknowledged.
struct Tracked {
    id: u64,
    tracker: Arc<Tracker>,
    doppler: Arc<Doppler>,
    trackers: Arc<Trackers>,
}

impl Tracked {
    fn register(id: u64, doppler: &Arc<Doppler>, trackers: &Arc<Trackers>) -> Self {
        let tracker = Tracker::new();
        trackers.lock().push(Arc::clone(&tracker));
        doppler.acknowledgements.register(id, Arc::clone(&tracker));
        Self {
            id,
            tracker,
            doppler: Arc::clone(doppler),
            trackers: Arc::clone(trackers),
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.doppler.acknowledgements.unregister(self.id);
        self.trackers
            .lock()
            .retain(|tracker| !Arc::ptr_eq(tracker, &self.tracker));
    }
}
