//! Sends envelopes from the connections to the log cache, in batches, until the log cache has acknowledged them.
//!
//! Connections put [`Chunk`]s into the [`Outbox`] within a budget of bytes. A chunk holds its part of the budget until
//! it is acknowledged. The [`Shipper`] gathers chunks into batches, and sends a batch when it is large enough or old
//! enough.

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

use crate::config::RawBatch;
use crate::metrics::Metrics;

/// The hop at which losses on the way to the log cache are counted.
const EGRESS: &str = "egress";

/// The method, which takes `SendRequest { 1: EnvelopeBatch }` and returns `SendResponse {}`.
const SEND: &str = "/logcache.v1.Ingress/Send";

/// The number of batches that are sent at a time.
const CONCURRENT_BATCHES: usize = 4;

/// The number of chunks that may wait to be gathered. The budget bounds their bytes.
const MAX_CHUNKS: usize = 1024;

/// The greatest size of a batch in bytes, unless a single chunk is larger. It is below half a megabyte, from which on
/// the log cache stores a batch on a thread of its own.
const MAX_BATCH: usize = 400 << 10;

/// The time limit for an answer, after which a request counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The interval at which a log cache that cannot be reached is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Encoded `EnvelopeBatch.batch` fields from one connection.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    envelopes: usize,
    /// The chunk's part of the budget.
    _permit: OwnedSemaphorePermit,
}

/// The outbox into which connections put envelopes for the log cache. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    chunks: mpsc::Sender<Chunk>,
    budget: Arc<Semaphore>,
    budget_bytes: usize,
    accounting: Arc<Accounting>,
}

/// Gathers chunks from the outbox into batches, and sends them.
#[derive(Debug)]
pub(crate) struct Shipper {
    chunks: mpsc::Receiver<Chunk>,
    budget: Arc<Semaphore>,
    batching: RawBatch,
    gathered: Vec<Chunk>,
    /// The time at which the gathered chunks are sent at the latest.
    due: Option<Instant>,
    batch_sender: BatchSender,
}

/// Sends one batch.
#[derive(Debug, Clone)]
struct BatchSender {
    channel: Channel,
    accounting: Arc<Accounting>,
    gave_up: Shutdown,
}

/// Counts what became of envelopes.
#[derive(Debug)]
struct Accounting {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
}

/// Returns an outbox of `budget_bytes` and its shipper, which sends through `channel` until `gave_up` is requested. The
/// envelopes that it has then are counted as lost.
pub(crate) fn outbox(
    channel: Channel,
    batching: RawBatch,
    budget_bytes: usize,
    (ledger, metrics): (Arc<Ledger>, Arc<Metrics>),
    gave_up: Shutdown,
) -> (Outbox, Shipper) {
    let (sender, receiver) = mpsc::channel(MAX_CHUNKS);
    let budget = Arc::new(Semaphore::new(budget_bytes));
    let accounting = Arc::new(Accounting { ledger, metrics });
    let outbox = Outbox {
        chunks: sender,
        budget: Arc::clone(&budget),
        budget_bytes,
        accounting: Arc::clone(&accounting),
    };
    let shipper = Shipper {
        chunks: receiver,
        budget,
        batching,
        gathered: Vec::new(),
        due: None,
        batch_sender: BatchSender {
            channel,
            accounting,
            gave_up,
        },
    };
    (outbox, shipper)
}

impl Outbox {
    /// Puts envelopes into the outbox, encoded as `EnvelopeBatch.batch` fields. It waits while the budget is used up.
    pub(crate) async fn put(&self, bytes: Vec<u8>, envelopes: usize) {
        // Counted before the wait, because the envelopes are received already.
        self.accounting.ledger.in_flight(signed(envelopes));
        // A chunk that is larger than the budget gets all of it.
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
            self.accounting.lost(&[chunk.bytes], envelopes, Reason::ShuttingDown);
        } else {
            self.accounting.lost(&[bytes], envelopes, Reason::ShuttingDown);
        }
    }
}

impl Shipper {
    /// Sends until every outbox was dropped and everything is sent, or until `gave_up` is requested.
    pub(crate) async fn run(mut self) {
        let mut sending = FuturesUnordered::new();
        let mut open = true;
        let gave_up = self.batch_sender.gave_up.clone();
        while open || !sending.is_empty() {
            tokio::select! {
                () = gave_up.requested(), if open => {
                    // No further chunk is accepted. Those that are here are gathered, and their sender counts them as
                    // lost.
                    self.budget.close();
                    self.chunks.close();
                    while let Some(chunks) = self.gather().await {
                        sending.push(self.batch_sender.clone().send(chunks));
                    }
                    open = false;
                }
                gathered = self.gather(), if open && sending.len() < CONCURRENT_BATCHES => match gathered {
                    Some(chunks) => sending.push(self.batch_sender.clone().send(chunks)),
                    None => open = false,
                },
                Some(()) = sending.next(), if !sending.is_empty() => {}
            }
        }
    }

    /// Returns the next batch; `None` if there will be no more. Cancel safe.
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
            // A chunk that does not fit starts the next batch, so that a batch is not larger than the limit.
            let before = (full && envelopes > 0).then(|| self.take());
            self.due.get_or_insert_with(|| Instant::now() + self.batching.age.get());
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

impl BatchSender {
    /// Sends one batch until it is acknowledged, refused for good, or `gave_up` is requested.
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
                self.accounting.ledger.sent(envelopes as u64);
                self.accounting.ledger.in_flight(-signed(envelopes));
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
        self.accounting.lost(&bytes, envelopes, reason);
    }

    /// Sends a request, again and again, until the log cache accepts or refuses it.
    async fn send_until_answered(&self, request: Frame) -> Result<(), Status> {
        let mut backoff = Backoff::between_parts();
        loop {
            let answer = timeout(ANSWER_TIMEOUT, self.channel.unary(SEND, request.clone())).await;
            let status = match answer {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {ANSWER_TIMEOUT:?}")),
            };
            self.accounting.metrics.send_failed();
            if matches!(status.code(), Code::InvalidArgument | Code::OutOfRange) {
                return Err(status);
            }
            weir_service::limited!(
                warn,
                LOG_INTERVAL,
                address = self.channel.address(),
                code = ?status.code(),
                error = status.message(),
                "log cache takes nothing, senders have to wait"
            );
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

impl Accounting {
    /// Counts envelopes that will not reach the log cache, by source.
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
