//! The server's side of a subscription: from a [`FairQueue`] to the stream of one consumer.
//!
//! A stream sends at once if a batch of a worthwhile size is waiting, or if it has sent nothing since the last tick.
//! Otherwise it sends at the next tick. All streams have their ticks at one time, so that messages for many consumers
//! leave in one write. A single line thus arrives without delay, and fifty consumers of few lines do not cost fifty
//! times as much.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use weir_flow::{FairQueue, Ledger, Parcel, Reason};
use weir_net::{Frame, FrameStream, Handover, Messages, RawService, one_frame};
use weir_service::Shutdown;

use crate::link::{Delivered, LINK_METADATA, LINK_SERVICE, decode_acknowledgements};

/// The time between two ticks: how long a few envelopes are gathered before they are sent.
const INTERVAL: Duration = Duration::from_millis(100);

/// The largest number of envelopes in one message.
const MAX_ENVELOPES: usize = 1000;

/// The size in bytes at which a message gets no more envelopes. It is far below the 4 MiB that a default gRPC client
/// accepts, and larger messages would not be faster.
const MAX_BYTES: usize = 512 * 1024;

/// The largest envelope that is sent to consumers, in bytes: the largest message that a default gRPC client accepts,
/// less some room for the framing. A larger envelope would break the consumer's stream again and again.
pub const MAX_CLIENT_MESSAGE: usize = (4 << 20) - 1024;

/// How long a stream may take on shutdown to send its queue and receive the acknowledgements.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// The instant from which the ticks of all streams are counted.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

fn next_tick(now: Instant) -> Instant {
    let interval = INTERVAL.as_micros();
    let elapsed = now.saturating_duration_since(*EPOCH).as_micros();
    let tick = (elapsed / interval + 1) * interval;
    *EPOCH + Duration::from_micros(u64::try_from(tick).unwrap_or(u64::MAX))
}

/// The subscriptions of one server, and the messages that they have in flight.
#[derive(Debug)]
pub struct Egress {
    next_id: AtomicU64,
    in_flight: Mutex<HashMap<u64, Linked>>,
    ledger: Arc<Ledger>,
    shutdown: Shutdown,
}

/// The messages in flight of a subscription whose consumer acknowledges.
#[derive(Debug, Clone)]
struct Linked {
    in_flight: Arc<Mutex<VecDeque<InFlight>>>,
    durable: bool,
}

/// A message that was sent and is not acknowledged yet.
#[derive(Debug)]
struct InFlight {
    sequence: u64,
    parcels: Vec<Parcel>,
}

/// Whether and how a consumer acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledges {
    /// The consumer does not acknowledge: it is a client of the original.
    No,
    /// The consumer acknowledges a message when it has handed it on.
    Live,
    /// The consumer acknowledges a message when it has stored it, so that producers may wait for that.
    Durable,
}

impl Acknowledges {
    /// Reads the metadata of a subscription request.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        match request.metadata().get(LINK_METADATA).map(|value| value.as_bytes()) {
            Some(b"durable") => Self::Durable,
            Some(_) => Self::Live,
            None => Self::No,
        }
    }
}

impl Egress {
    /// The egress of a server that counts in `ledger`, and ends its streams when `shutdown` is requested.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self {
            next_id: AtomicU64::new(1),
            in_flight: Mutex::default(),
            ledger,
            shutdown,
        })
    }

    /// Streams `queue` to one consumer. `on_end` is dropped when the stream has ended. The envelopes that are still in
    /// the queue then are counted as lost. The exception is the queue of a durable consumer while the server runs on:
    /// it is left to `on_end`, because the consumer may come back.
    pub fn stream(
        self: &Arc<Self>,
        queue: Arc<FairQueue>,
        acknowledges: Acknowledges,
        on_end: impl Send + 'static,
    ) -> Response<FrameStream> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let in_flight = Arc::<Mutex<VecDeque<InFlight>>>::default();
        let linked = acknowledges != Acknowledges::No;
        let durable = acknowledges == Acknowledges::Durable;
        if linked {
            let in_flight = Arc::clone(&in_flight);
            self.in_flight.lock().insert(id, Linked { in_flight, durable });
        }
        self.ledger.subscribers(1);
        self.ledger.storing(i64::from(durable));
        let outbound = Outbound {
            egress: Arc::clone(self),
            id,
            linked,
            durable,
            queue,
            in_flight,
            handover: Handover::default(),
            sequence: 0,
            gather_until: None,
            drain_by: None,
            _on_end: Box::new(on_end),
        };
        let frames = futures::stream::unfold(outbound, |mut outbound| async move {
            outbound.next().await.map(|frame| (Ok(frame), outbound))
        });
        let mut response = Response::new(frames.boxed());
        if linked {
            response.metadata_mut().insert(LINK_METADATA, id.into());
        }
        response
    }

    /// Settles all messages of subscription `id` up to `sequence`, which its consumer has handed on.
    fn acknowledge(&self, id: u64, sequence: u64) {
        let Some(Linked { in_flight, durable }) = self.in_flight.lock().get(&id).cloned() else {
            return;
        };
        // The lock is released before the receipts of the messages are dropped, because that can do more work upstream.
        let settled: Vec<InFlight> = {
            let mut in_flight = in_flight.lock();
            let settled = in_flight
                .iter()
                .take_while(|message| message.sequence <= sequence)
                .count();
            in_flight.drain(..settled).collect()
        };
        let envelopes = settled.iter().map(|message| count(&message.parcels)).sum();
        self.handed_on(envelopes);
        if durable {
            self.ledger.stored(envelopes);
        }
    }

    /// Waits until no stream waits for acknowledgements any more, but not longer than streams may drain.
    async fn drained(&self) {
        let by = Instant::now() + DRAIN_DEADLINE;
        while Instant::now() < by && !self.in_flight.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Counts `envelopes` in flight as sent.
    fn handed_on(&self, envelopes: u64) {
        self.ledger.in_flight(-envelopes.cast_signed());
        self.ledger.sent(envelopes);
    }
}

/// The number of envelopes in `parcels`.
fn count(parcels: &[Parcel]) -> u64 {
    parcels.iter().map(|parcel| parcel.batch.len() as u64).sum()
}

/// The gRPC service of the link: it answers `Hello`, and takes the acknowledgements for a server's egress.
#[derive(Debug)]
pub struct LinkService {
    egress: Option<Arc<Egress>>,
}

impl LinkService {
    /// The link service of a server with subscriptions.
    #[must_use]
    pub const fn new(egress: Arc<Egress>) -> Self {
        Self { egress: Some(egress) }
    }

    /// The link service of a server that has an ingress and no subscriptions.
    #[must_use]
    pub const fn ingress_only() -> Self {
        Self { egress: None }
    }
}

#[tonic::async_trait]
impl RawService for LinkService {
    const NAME: &'static str = LINK_SERVICE;

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        match (method, &self.egress) {
            ("Hello", _) => Ok(one_frame(Frame::default())),
            ("Acknowledge", Some(egress)) => {
                let mut messages = request.into_inner();
                let egress = Arc::clone(egress);
                let answer = async move {
                    loop {
                        let message = match egress.shutdown.unless_requested(messages.message()).await {
                            Some(message) => message?,
                            // The streams are draining. Their acknowledgements still count until the last stream has
                            // ended.
                            None => tokio::select! {
                                message = messages.message() => message?,
                                () = egress.drained() => None,
                            },
                        };
                        let Some(message) = message else {
                            return Ok(Frame::default());
                        };
                        let acknowledged = decode_acknowledgements(&message)
                            .map_err(|error| Status::invalid_argument(error.to_string()))?;
                        for one in acknowledged {
                            egress.acknowledge(one.subscription, one.sequence);
                        }
                    }
                };
                Ok(Response::new(futures::stream::once(answer).boxed()))
            }
            _ => Err(Status::unimplemented(format!("method `{method}` does not exist"))),
        }
    }
}

/// The stream of one consumer.
struct Outbound {
    egress: Arc<Egress>,
    id: u64,
    /// Whether the consumer acknowledges.
    linked: bool,
    durable: bool,
    queue: Arc<FairQueue>,
    in_flight: Arc<Mutex<VecDeque<InFlight>>>,
    /// The messages to a consumer that does not acknowledge, until they are written.
    handover: Handover<Vec<Parcel>>,
    sequence: u64,
    /// The tick before which only a batch of a worthwhile size is sent, because a message was sent just now.
    gather_until: Option<Instant>,
    drain_by: Option<Instant>,
    _on_end: Box<dyn Send>,
}

impl Outbound {
    /// Waits for the next message to send. Returns `None` at the end of the stream.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            self.release();
            let now = Instant::now();
            let draining = self.egress.shutdown.is_requested();
            if draining {
                self.queue.close();
                if now > *self.drain_by.get_or_insert(now + DRAIN_DEADLINE) {
                    return None;
                }
            }
            // On shutdown nothing is gathered any more: the queue has to be emptied within the deadline.
            if self.gather_until.is_some_and(|tick| tick <= now) || draining {
                self.gather_until = None;
            }
            if (self.gather_until.is_none() || self.queue.is_worth_sending())
                && let Some(parcels) = self.queue.try_pop(MAX_ENVELOPES, MAX_BYTES)
            {
                self.gather_until = Some(next_tick(now));
                return Some(self.send(parcels));
            }
            if draining {
                return self.drained().await;
            }
            let gathering = self.gather_until.is_some();
            // The end of a handover has to be noticed even if nothing more is sent, or its receipts would be held.
            let wake = [self.gather_until, self.handover.due()].into_iter().flatten().min();
            tokio::select! {
                () = self.queue.filled(), if !gathering => {}
                () = self.queue.worth_sending(), if gathering => {}
                () = sleep_until(wake) => {}
                () = self.egress.shutdown.requested() => {}
            }
        }
    }

    /// Encodes a message of `parcels` and keeps them in flight.
    fn send(&mut self, parcels: Vec<Parcel>) -> Frame {
        let envelopes = count(&parcels);
        self.egress.ledger.in_flight(envelopes.cast_signed());
        let mut parts = Vec::with_capacity(parcels.len() + 1);
        if self.linked {
            self.sequence += 1;
            let deprecated_tags = parcels.iter().any(|parcel| parcel.batch.has_deprecated_tags());
            parts.push(
                Delivered {
                    sequence: self.sequence,
                    envelopes,
                    deprecated_tags,
                }
                .encode(),
            );
        }
        // Encoded batches are put one behind the other: to protobuf, that is one batch with the envelopes of all.
        parts.extend(parcels.iter().map(|parcel| parcel.batch.bytes().clone()));
        let frame = Frame::parts(parts);
        if self.linked {
            self.in_flight.lock().push_back(InFlight {
                sequence: self.sequence,
                parcels,
            });
        } else {
            let written = self.handover.push(frame.len(), parcels);
            self.written(&written);
        }
        frame
    }

    /// Counts the messages that are written by now.
    fn release(&mut self) {
        let written = self.handover.release();
        self.written(&written);
    }

    fn written(&self, messages: &[Vec<Parcel>]) {
        if !messages.is_empty() {
            self.egress
                .handed_on(messages.iter().map(|parcels| count(parcels)).sum());
        }
    }

    /// Gives the messages in flight the time to be acknowledged or written, once the queue is closed and empty.
    async fn drained(&mut self) -> Option<Frame> {
        let by = *self.drain_by.get_or_insert(Instant::now() + DRAIN_DEADLINE);
        while Instant::now() < by {
            self.release();
            if self.handover.due().is_none() && self.in_flight.lock().is_empty() {
                break;
            }
            // Acknowledgements come on another stream, which does not wake this one. A poll for a few seconds is
            // simpler than a signal that only a shutdown needs.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }
}

/// Waits until `deadline`, or for ever without one.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Drop for Outbound {
    /// Counts the envelopes that the consumer did not get as lost, before their receipts are dropped.
    fn drop(&mut self) {
        let egress = &self.egress;
        egress.in_flight.lock().remove(&self.id);
        let reason = if egress.shutdown.is_requested() {
            Reason::ShuttingDown
        } else {
            Reason::ConsumerGone
        };
        // The queue of a durable consumer is kept for its return, unless the server stops.
        if !self.durable || egress.shutdown.is_requested() {
            egress.ledger.lost("egress", reason, &self.queue.abandon());
        }
        let unacknowledged = std::mem::take(&mut *self.in_flight.lock());
        let in_flight: Vec<Parcel> = unacknowledged
            .into_iter()
            .flat_map(|message| message.parcels)
            .chain(self.handover.abandon().into_iter().flatten())
            .collect();
        for parcel in &in_flight {
            egress.ledger.lost("egress", reason, &parcel.lose());
        }
        egress.ledger.in_flight(-count(&in_flight).cast_signed());
        // This comes last, so that a reader of the ledger who sees that the consumer has gone finds its losses counted.
        egress.ledger.storing(-i64::from(self.durable));
        egress.ledger.subscribers(-1);
    }
}
