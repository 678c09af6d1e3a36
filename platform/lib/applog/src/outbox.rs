//! From the threads that write envelopes to the agent that takes them.
//!
//! ```text
//! thread ─ write ─▶ buffer ─┐ full, or old
//! thread ─ write ─▶ buffer ─┼─────────────▶ queue ─▶ producer ─▶ agent
//! thread ─ write ─▶ buffer ─┘                │ full
//!                                            └─▶ ledger: dropped
//! ```

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_flow::{Capacity, FairQueue, Ledger, LogContext, Parcel, Reason};
use weir_net::Target;
use weir_rpc::producer::{Pace, Producer};

/// How many buffers there are. Threads share them when there are more threads.
const BUFFERS: usize = 32;
/// A buffer with so many envelopes, or so many bytes, goes into the queue.
const FULL: Capacity = Capacity {
    envelopes: 100,
    bytes: 64 * 1024,
};
/// How long an envelope waits in a buffer that does not become full.
const AGE: Duration = Duration::from_millis(100);
/// How much may wait for the agent.
const QUEUE: Capacity = Capacity {
    envelopes: 64 * 1024,
    bytes: 64 << 20,
};
/// How much goes to the agent in one message.
const MESSAGE: Capacity = Capacity {
    envelopes: 1_000,
    bytes: 512 * 1024,
};
/// How long the agent may be away before what waits for it is given up, message by message.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long [`Outbox::finish`] waits for the agent.
const FINISH: Duration = Duration::from_secs(10);
/// Where losses happen, in the ledger.
const HOP: &str = "applog";

/// Takes envelopes from any thread and sends them to an agent. `S` is what a thread reuses from write to write.
#[derive(Debug)]
pub(crate) struct Outbox<S> {
    buffers: Arc<Buffers<S>>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Buffers<S> {
    buffers: Box<[Padded<S>]>,
    queue: FairQueue,
    ledger: Arc<Ledger>,
}

/// A buffer on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<S>(Mutex<Buffer<S>>);

#[derive(Debug, Default)]
struct Buffer<S> {
    builder: BatchBuilder,
    envelope: Vec<u8>,
    scratch: S,
}

/// Writes envelopes into a buffer.
pub(crate) struct Pen<'p> {
    builder: &'p mut BatchBuilder,
    envelope: &'p mut Vec<u8>,
}

impl Pen<'_> {
    /// Appends the envelope that `write` encodes.
    pub(crate) fn envelope(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.envelope.clear();
        write(self.envelope);
        let is_valid = self.builder.push(self.envelope);
        debug_assert!(is_valid, "it was written by the library's own writer");
    }
}

impl<S: Default + Send + 'static> Outbox<S> {
    /// Begins to send to `agent`.
    pub(crate) fn start(agent: &Target, context: &LogContext) -> Self {
        let buffers = Arc::new(Buffers::new(QUEUE, &context.ledger));
        let pace = Pace {
            patience: PATIENCE,
            ..Pace::default()
        };
        let producer = Producer::new(agent, Arc::clone(&context.ledger), &context.tasks, pace);
        let task = context.tasks.spawn("app log", Arc::clone(&buffers).send(producer));
        Self {
            buffers,
            task: tokio::sync::Mutex::new(Some(task)),
        }
    }

    /// Lets `write` append envelopes to the buffer of this thread.
    pub(crate) fn write(&self, write: impl FnOnce(&mut Pen<'_>, &mut S)) {
        self.buffers.write(write);
    }

    /// Sends what was written before, and ends.
    pub(crate) async fn finish(&self) {
        self.buffers.sweep();
        self.buffers.queue.close();
        let task = self.task.lock().await.take();
        if let Some(task) = task {
            drop(task.await);
        }
    }
}

impl<S: Default> Buffers<S> {
    fn new(capacity: Capacity, ledger: &Arc<Ledger>) -> Self {
        Self {
            buffers: (0..BUFFERS).map(|_| Padded::default()).collect(),
            queue: FairQueue::new(capacity),
            ledger: Arc::clone(ledger),
        }
    }
}

impl<S> Buffers<S> {
    fn write(&self, write: impl FnOnce(&mut Pen<'_>, &mut S)) {
        let mut buffer = self.buffers[slot() % BUFFERS].0.lock();
        let Buffer {
            builder,
            envelope,
            scratch,
        } = &mut *buffer;
        let before = builder.len();
        write(&mut Pen { builder, envelope }, scratch);
        self.ledger.received((builder.len() - before) as u64);
        if builder.len() >= FULL.envelopes || builder.byte_len() >= FULL.bytes {
            let batch = builder.finish();
            builder.reserve(FULL.envelopes, FULL.bytes);
            drop(buffer);
            self.enqueue(batch);
        }
    }

    fn enqueue(&self, batch: Batch) {
        let losses = self.queue.push(Parcel::unacknowledged(batch));
        self.ledger.lost(HOP, Reason::BufferFull, &losses);
    }

    /// Puts all that is in buffers into the queue.
    fn sweep(&self) {
        for buffer in &self.buffers {
            let mut buffer = buffer.0.lock();
            if !buffer.builder.is_empty() {
                let batch = buffer.builder.finish();
                drop(buffer);
                self.enqueue(batch);
            }
        }
    }

    /// Sends until the queue is closed and empty.
    async fn send(self: Arc<Self>, mut producer: Producer) {
        let mut ticks = tokio::time::interval(AGE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                parcels = self.queue.pop(MESSAGE.envelopes, MESSAGE.bytes) => match parcels {
                    Some(parcels) => self.transmit(&mut producer, parcels).await,
                    None => break,
                },
                _ = ticks.tick() => self.sweep(),
            }
        }
        // What is sent and not acknowledged in time is in the agent's books.
        drop(tokio::time::timeout(FINISH, producer.flush()).await);
    }

    async fn transmit(&self, producer: &mut Producer, parcels: Vec<Parcel>) {
        let batch = merged(parcels);
        let before = producer.report().sent;
        let sent = producer.send(batch.clone());
        let (reason, result) = if self.queue.is_closed() {
            (Reason::ShuttingDown, tokio::time::timeout(FINISH, sent).await)
        } else {
            (Reason::NoDestination, Ok(sent.await))
        };
        if let Ok(Err(error)) = result {
            weir_service::limited!(
                warn,
                Duration::from_secs(30),
                count = batch.len(),
                error = %error,
                "apps cannot be told of their requests"
            );
        }
        // What was handed to a link is in the producer's books, even if the link is still waited for.
        if producer.report().sent == before {
            let losses = Parcel::unacknowledged(batch).lose();
            self.ledger.lost(HOP, reason, &losses);
            if self.queue.is_closed() {
                self.ledger.lost(HOP, reason, &self.queue.abandon());
            }
        }
    }
}

/// One batch of all parcels.
fn merged(mut parcels: Vec<Parcel>) -> Batch {
    if parcels.len() == 1
        && let Some(parcel) = parcels.pop()
    {
        return parcel.batch;
    }
    let mut builder = BatchBuilder::new();
    let bytes = parcels.iter().map(|parcel| parcel.batch.byte_len()).sum();
    builder.reserve(parcels.iter().map(|parcel| parcel.batch.len()).sum(), bytes);
    for parcel in &parcels {
        for envelope in parcel.batch.iter() {
            builder.push_raw(envelope);
        }
    }
    builder.finish()
}

/// A number of the calling thread, which is its own among the first [`BUFFERS`] threads.
fn slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: Cell<Option<usize>> = const { Cell::new(None) };
    }
    SLOT.with(|slot| {
        let number = slot.get().unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        slot.set(Some(number));
        number
    })
}

#[cfg(test)]
mod tests;
