//! The server's end of a subscription: from a [`FairQueue`] to the stream of one consumer.
//!
//! When to send: at once if a batch is waiting that is worth it, or if nothing was waiting at the last tick; otherwise at
//! the next tick, which is the same for all streams, so that what is due for many consumers leaves in one write. A single
//! line thus arrives without delay, and fifty consumers of a trickle do not cost fifty times as much.

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

/// How long a trickle is gathered.
const INTERVAL: Duration = Duration::from_millis(100);

/// Most envelopes and bytes of one message: far below the 4 MiB that a default gRPC client accepts, and above the size
/// where larger messages gain anything.
const MAX_ENVELOPES: usize = 1000;
const MAX_BYTES: usize = 512 * 1024;

/// Largest message that a default gRPC client accepts, less some room for the framing. A single envelope above it would
/// break the consumer's stream again and again.
pub const MAX_CLIENT_MESSAGE: usize = (4 << 20) - 1024;

/// How long a stream may take to drain on shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// The ticks of [`INTERVAL`] are counted from here.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

fn next_tick(now: Instant) -> Instant {
    let interval = INTERVAL.as_micros();
    let elapsed = now.saturating_duration_since(*EPOCH).as_micros();
    let tick = (elapsed / interval + 1) * interval;
    *EPOCH + Duration::from_micros(u64::try_from(tick).unwrap_or(u64::MAX))
}

/// The subscriptions of one server, and what they have in flight.
#[derive(Debug)]
pub struct Egress {
    next: AtomicU64,
    in_flight: Mutex<HashMap<u64, Linked>>,
    ledger: Arc<Ledger>,
    shutdown: Shutdown,
}

/// A subscription whose consumer acknowledges.
#[derive(Debug, Clone)]
struct Linked {
    in_flight: Arc<Mutex<VecDeque<InFlight>>>,
    durable: bool,
}

#[derive(Debug)]
struct InFlight {
    sequence: u64,
    parcels: Vec<Parcel>,
}

/// Whether and how a consumer acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledges {
    /// It does not: one of the original's clients.
    No,
    /// It does.
    Live,
    /// It does, and what it acknowledges is stored: producers may wait for it.
    Durable,
}

impl Acknowledges {
    /// What the metadata of a subscription request says.
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
    /// The subscriptions of a server that counts in `ledger`, and ends its streams when `shutdown` is requested.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicU64::new(1),
            in_flight: Mutex::default(),
            ledger,
            shutdown,
        })
    }

    /// Streams `queue` to one consumer; `on_end` is dropped when the consumer is gone. What is then in the queue is lost, but
    /// for a durable consumer, unless the server stops: its queue is left to `on_end`, for it may come back.
    pub fn stream(
        self: &Arc<Self>,
        queue: Arc<FairQueue>,
        acknowledges: Acknowledges,
        on_end: impl Send + 'static,
    ) -> Response<FrameStream> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
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

    /// Everything up to `sequence` was handed on by the consumer of subscription `id`.
    fn acknowledge(&self, id: u64, sequence: u64) {
        let Some(Linked { in_flight, durable }) = self.in_flight.lock().get(&id).cloned() else {
            return;
        };
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

    /// Waits until no stream waits for acknowledgements any more, at most as long as streams may drain.
    async fn drained(&self) {
        let by = Instant::now() + DRAIN;
        while Instant::now() < by && !self.in_flight.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn handed_on(&self, envelopes: u64) {
        self.ledger.in_flight(-envelopes.cast_signed());
        self.ledger.sent(envelopes);
    }
}

fn count(parcels: &[Parcel]) -> u64 {
    parcels.iter().map(|parcel| parcel.batch.len() as u64).sum()
}

/// The acknowledgement service beside a server's egress.
#[derive(Debug)]
pub struct LinkService {
    egress: Option<Arc<Egress>>,
}

impl LinkService {
    /// For a server with subscriptions.
    #[must_use]
    pub const fn new(egress: Arc<Egress>) -> Self {
        Self { egress: Some(egress) }
    }

    /// For a server that has only an ingress.
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
                            // Streams are draining: their acknowledgements still count, until the last one is gone.
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
    linked: bool,
    durable: bool,
    queue: Arc<FairQueue>,
    in_flight: Arc<Mutex<VecDeque<InFlight>>>,
    handover: Handover<Vec<Parcel>>,
    sequence: u64,
    /// Something was sent just now: until this tick, only a batch that is worth it is.
    gather_until: Option<Instant>,
    drain_by: Option<Instant>,
    _on_end: Box<dyn Send>,
}

impl Outbound {
    async fn next(&mut self) -> Option<Frame> {
        loop {
            self.release();
            let now = Instant::now();
            let draining = self.egress.shutdown.is_requested();
            if draining {
                self.queue.close();
                if now > *self.drain_by.get_or_insert(now + DRAIN) {
                    return None;
                }
            }
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
            let wake = [self.gather_until, self.handover.due()].into_iter().flatten().min();
            tokio::select! {
                () = self.queue.filled(), if !gathering => {}
                () = self.queue.worth_sending(), if gathering => {}
                () = sleep_until(wake) => {}
                () = self.egress.shutdown.requested() => {}
            }
        }
    }

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

    /// The queue is empty and will stay so: gives what is in flight the time to be acknowledged, or written.
    async fn drained(&mut self) -> Option<Frame> {
        let by = *self.drain_by.get_or_insert(Instant::now() + DRAIN);
        while Instant::now() < by {
            self.release();
            if self.handover.due().is_none() && self.in_flight.lock().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Drop for Outbound {
    /// The consumer is gone, or was told to go: what it did not get is lost, and counted before the receipts go.
    fn drop(&mut self) {
        let egress = &self.egress;
        egress.in_flight.lock().remove(&self.id);
        let reason = if egress.shutdown.is_requested() {
            Reason::ShuttingDown
        } else {
            Reason::ConsumerGone
        };
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
        // Last: whoever sees the consumer gone finds its losses counted.
        egress.ledger.storing(-i64::from(self.durable));
        egress.ledger.subscribers(-1);
    }
}
