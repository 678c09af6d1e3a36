//! From the connections to the log cache: batches, a few in flight, sent again until they are taken.
//!
//! Connections put [`Chunk`]s into the [`Outbox`] within a budget of bytes, which a chunk holds until the log cache has
//! it. The [`Shipper`] gathers chunks to batches, by size or age, whichever is first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Status};
use weir_envelope::batch::Batch;
use weir_envelope::wire::put_head;
use weir_flow::{Ledger, Reason};
use weir_net::{Backoff, Channel, Frame};
use weir_service::Shutdown;

use crate::config::Batching;
use crate::metrics::Metrics;

/// Where a loss on the way to the log cache is booked.
const EGRESS: &str = "egress";

/// `SendRequest { 1: EnvelopeBatch }` in, `SendResponse {}` out.
const SEND: &str = "/logcache.v1.Ingress/Send";

/// Batches that are sent at a time.
const LANES: usize = 4;

/// Chunks that may wait to be gathered; their bytes are bounded by the budget.
const MAX_CHUNKS: usize = 1024;

/// Bytes of a batch at the most, as long as one chunk is not larger: the log cache stores what is above half a megabyte
/// on a thread of its own.
const MAX_BATCH: usize = 400 << 10;

/// A log cache that has not answered by then has lost the request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// That the log cache cannot be reached is said this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Encoded `EnvelopeBatch.batch` fields.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    envelopes: usize,
    /// Its part of the budget.
    _permit: OwnedSemaphorePermit,
}

/// Where connections put what is for the log cache. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    chunks: mpsc::Sender<Chunk>,
    budget: Arc<Semaphore>,
    budget_bytes: usize,
    books: Arc<Books>,
}

/// Takes it from there.
#[derive(Debug)]
pub(crate) struct Shipper {
    chunks: mpsc::Receiver<Chunk>,
    budget: Arc<Semaphore>,
    batching: Batching,
    gathered: Vec<Chunk>,
    /// When what is gathered is sent at the latest.
    due: Option<Instant>,
    lane: Lane,
}

/// What sending one batch takes.
#[derive(Debug, Clone)]
struct Lane {
    channel: Channel,
    books: Arc<Books>,
    gave_up: Shutdown,
}

#[derive(Debug)]
struct Books {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
}

/// An outbox of `budget` bytes and its shipper, which sends through `channel` until `gave_up` is requested; what it has
/// then is counted as lost.
pub(crate) fn outbox(
    channel: Channel,
    batching: Batching,
    budget_bytes: usize,
    (ledger, metrics): (Arc<Ledger>, Arc<Metrics>),
    gave_up: Shutdown,
) -> (Outbox, Shipper) {
    let (sender, receiver) = mpsc::channel(MAX_CHUNKS);
    let budget = Arc::new(Semaphore::new(budget_bytes));
    let books = Arc::new(Books { ledger, metrics });
    let outbox = Outbox {
        chunks: sender,
        budget: Arc::clone(&budget),
        budget_bytes,
        books: Arc::clone(&books),
    };
    let shipper = Shipper {
        chunks: receiver,
        budget,
        batching,
        gathered: Vec::new(),
        due: None,
        lane: Lane {
            channel,
            books,
            gave_up,
        },
    };
    (outbox, shipper)
}

impl Outbox {
    /// Hands over so many envelopes, encoded as `EnvelopeBatch.batch` fields; waits while the budget is used up.
    pub(crate) async fn put(&self, bytes: Vec<u8>, envelopes: usize) {
        self.books.ledger.in_flight(signed(envelopes));
        // One that is larger than all of the budget has all of it.
        let share = u32::try_from(bytes.len().min(self.budget_bytes)).unwrap_or(u32::MAX);
        let bytes = Bytes::from(bytes);
        if let Ok(permit) = Arc::clone(&self.budget).acquire_many_owned(share).await {
            let chunk = Chunk {
                bytes,
                envelopes,
                _permit: permit,
            };
            let Err(mpsc::error::SendError(chunk)) = self.chunks.send(chunk).await else {
                return;
            };
            self.books.lost(&[chunk.bytes], envelopes, Reason::ShuttingDown);
        } else {
            self.books.lost(&[bytes], envelopes, Reason::ShuttingDown);
        }
    }
}

impl Shipper {
    /// Sends until every outbox is gone and all is sent, or it is time to give up.
    pub(crate) async fn run(mut self) {
        let mut flying = FuturesUnordered::new();
        let mut open = true;
        let gave_up = self.lane.gave_up.clone();
        while open || !flying.is_empty() {
            tokio::select! {
                () = gave_up.requested(), if open => {
                    // Nobody gets in any more; what is inside is gathered below and counted by its lane.
                    self.budget.close();
                    self.chunks.close();
                    while let Some(chunks) = self.gather().await {
                        flying.push(self.lane.clone().send(chunks));
                    }
                    open = false;
                }
                gathered = self.gather(), if open && flying.len() < LANES => match gathered {
                    Some(chunks) => flying.push(self.lane.clone().send(chunks)),
                    None => open = false,
                },
                Some(()) = flying.next(), if !flying.is_empty() => {}
            }
        }
    }

    /// The next batch; `None` when there will be no more. Cancel safe.
    async fn gather(&mut self) -> Option<Vec<Chunk>> {
        loop {
            let next = match self.due {
                None => self.chunks.recv().await,
                Some(due) => match timeout_at(due, self.chunks.recv()).await {
                    Ok(next) => next,
                    Err(_) => return Some(self.take()),
                },
            };
            let Some(chunk) = next else {
                return (!self.gathered.is_empty()).then(|| self.take());
            };
            let (envelopes, bytes) = self.size();
            let full = envelopes + chunk.envelopes > self.batching.envelopes || bytes + chunk.bytes.len() > MAX_BATCH;
            let before = (full && envelopes > 0).then(|| self.take());
            self.due.get_or_insert_with(|| Instant::now() + self.batching.age);
            self.gathered.push(chunk);
            if before.is_some() {
                return before;
            }
            if full || self.size().0 == self.batching.envelopes {
                return Some(self.take());
            }
        }
    }

    fn take(&mut self) -> Vec<Chunk> {
        self.due = None;
        std::mem::take(&mut self.gathered)
    }

    fn size(&self) -> (usize, usize) {
        let sum = |(envelopes, bytes), chunk: &Chunk| (envelopes + chunk.envelopes, bytes + chunk.bytes.len());
        self.gathered.iter().fold((0, 0), sum)
    }
}

impl Lane {
    /// Sends one batch until it is taken, or refused for good, or it is time to give up.
    async fn send(self, chunks: Vec<Chunk>) {
        let envelopes = chunks.iter().map(|chunk| chunk.envelopes).sum();
        let len = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        let mut head = Vec::with_capacity(8);
        put_head(&mut head, 1, len);
        let mut parts = vec![Bytes::from(head)];
        parts.extend(chunks.iter().map(|chunk| chunk.bytes.clone()));
        let request = Frame::parts(parts);
        let sent = self.gave_up.unless_requested(self.send_until_answered(request)).await;
        let reason = match sent {
            Some(Ok(())) => {
                self.books.ledger.sent(envelopes as u64);
                self.books.ledger.in_flight(-signed(envelopes));
                return;
            }
            Some(Err(status)) => {
                weir_service::limited!(error, weir_service::EACH_SECOND,
                    code = ?status.code(),
                    error = status.message(),
                    envelopes,
                    "log cache refuses a batch, it is dropped"
                );
                Reason::Rejected
            }
            None => Reason::ShuttingDown,
        };
        let bytes: Vec<Bytes> = chunks.into_iter().map(|chunk| chunk.bytes).collect();
        self.books.lost(&bytes, envelopes, reason);
    }

    async fn send_until_answered(&self, request: Frame) -> Result<(), Status> {
        let mut backoff = Backoff::between_parts();
        loop {
            let answer = timeout(ANSWER_TIMEOUT, self.channel.unary(SEND, request.clone())).await;
            let status = match answer {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {ANSWER_TIMEOUT:?}")),
            };
            self.books.metrics.send_failed();
            if matches!(status.code(), Code::InvalidArgument | Code::OutOfRange) {
                return Err(status);
            }
            weir_service::limited!(
                warn,
                COMPLAIN_EVERY,
                address = self.channel.address(),
                code = ?status.code(),
                error = status.message(),
                "log cache takes nothing, senders have to wait"
            );
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

impl Books {
    /// Counts what will not reach the log cache, by source.
    fn lost(&self, chunks: &[Bytes], envelopes: usize, reason: Reason) {
        self.ledger.in_flight(-signed(envelopes));
        let mut sources: HashMap<String, u64> = HashMap::new();
        for chunk in chunks {
            for envelope in Batch::split(chunk.clone()).batch.iter() {
                *sources.entry(envelope.source_id().to_owned()).or_default() += 1;
            }
        }
        for (source_id, count) in sources {
            self.ledger.dropped(EGRESS, reason, &source_id, count);
        }
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
