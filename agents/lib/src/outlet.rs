//! The sending side of an agent: a bounded, fair buffer, and acknowledged links that empty it to one of several equal
//! peers.
//!
//! ```text
//! Buffer (FairQueue) ─▶ Egress: packs, hands out ─▶ lanes, one open link each ─▶ peers
//!                                                  ▲ one connector per peer opens them again and again
//! ```
//!
//! Pushing never waits. If the buffer is full, the source that fills it loses its oldest envelopes, and they are
//! counted at the hop that the [`Terms`] name. At any time a parcel is in the buffer, on a link, or counted as lost.
//!
//! **How long producers wait for an absent peer.** A producer may wait until everything it sent is *taken*, and the
//! receipts of buffered parcels delay that. When no peer has been connected for [`Terms::patience`], the outlet
//! releases these receipts. The envelopes stay in the buffer and are later sent, or counted as lost, but no producer
//! waits for them any longer.

mod connector;
mod egress;
mod lane;
mod pack;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_flow::{Capacity, FairQueue, Ledger, LogContext, Parcel, Reason};
use weir_net::Target;
use weir_service::Shutdown;

pub use lane::InFlightLimit;

use egress::Egress;

/// The settings of an outlet.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What the peers are, for log messages: for example `doppler`.
    pub peer: &'static str,
    /// The hop at which losses of the buffer are counted.
    pub buffer_hop: &'static str,
    /// The hop at which losses behind the buffer are counted.
    pub link_hop: &'static str,
    /// The capacity of the buffer.
    pub capacity: Capacity,
    /// How much one peer may hold without acknowledging it.
    pub limit: InFlightLimit,
    /// How long producers wait for envelopes to be taken while no peer is connected. `None` means for ever.
    pub patience: Option<Duration>,
    /// How long a stopping agent waits for its buffer to be sent.
    pub drain: Duration,
}

/// The receiving end of an outlet, to which parcels are pushed. Clones share one buffer.
#[derive(Debug, Clone)]
pub struct Buffer {
    queue: Arc<FairQueue>,
    ledger: Arc<Ledger>,
    hop: &'static str,
    shared: Arc<Shared>,
}

/// State that the [`Buffer`] and the [`Egress`] task share.
#[derive(Debug, Default)]
struct Shared {
    /// The number of connected peers.
    connected: AtomicUsize,
    /// Whether no peer has been connected for longer than [`Terms::patience`].
    given_up: AtomicBool,
}

impl Buffer {
    /// Appends a parcel, and counts the envelopes that are discarded to make room for it.
    pub fn push(&self, mut parcel: Parcel) {
        let given_up = self.shared.given_up.load(Ordering::Acquire);
        if given_up {
            release_taken(&mut parcel);
        }
        let losses = self.queue.push(parcel);
        if !given_up && self.shared.given_up.load(Ordering::Acquire) {
            // The task gave up between the two loads. It may have released the queue's receipts before this parcel was
            // pushed, so release them once more.
            self.queue.release_taken();
        }
        if !losses.is_empty() {
            // A closed queue accepts nothing: the agent is stopping, and this parcel came too late.
            let reason = if self.queue.is_closed() {
                Reason::ShuttingDown
            } else {
                Reason::BufferFull
            };
            self.ledger.lost(self.hop, reason, &losses);
        }
    }

    /// Returns the number of envelopes in the buffer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether the buffer is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns the number of connected peers.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::Relaxed)
    }
}

/// Releases the *taken* part of all receipts of `parcel`, so that no producer waits for it.
fn release_taken(parcel: &mut Parcel) {
    for receipt in &mut parcel.receipts {
        receipt.release_taken();
    }
}

/// A running outlet: its buffer, and the task that sends.
#[derive(Debug)]
pub struct Outlet {
    buffer: Buffer,
    ingress_ended: oneshot::Sender<()>,
    sending: JoinHandle<()>,
}

impl Outlet {
    /// Starts to send to `targets`.
    #[must_use]
    pub fn start(terms: Terms, targets: &[Target], context: &LogContext) -> Self {
        let queue = Arc::new(FairQueue::new(terms.capacity));
        let shared = Arc::<Shared>::default();
        let buffer = Buffer {
            queue: Arc::clone(&queue),
            ledger: Arc::clone(&context.ledger),
            hop: terms.buffer_hop,
            shared: Arc::clone(&shared),
        };
        let (links_go, links) = Shutdown::new();
        let mut egress = Egress::new(queue, shared, terms, targets, context, &links);
        let (ingress_ended, ended) = oneshot::channel::<()>();
        let drain = terms.drain;
        let sending = context.tasks.spawn("egress", async move {
            let too_late = async {
                // The channel never carries a value. Dropping the other end, in `finish` or with the outlet, starts the
                // deadline.
                drop(ended.await);
                tokio::time::sleep(drain).await;
            };
            tokio::select! {
                () = egress.run() => {}
                () = too_late => tracing::warn!(
                    peer = terms.peer,
                    hop = terms.link_hop,
                    "the buffer could not be emptied before the drain deadline"
                ),
            }
            // The links may end only now: while they are open, the connectors replace those that break.
            links_go.fire();
            egress.finish(Instant::now() + drain).await;
        });
        Self {
            buffer,
            ingress_ended,
            sending,
        }
    }

    /// Returns the end to which parcels are pushed.
    #[must_use]
    pub fn buffer(&self) -> Buffer {
        self.buffer.clone()
    }

    /// Closes the buffer, and waits until it is empty and all links have ended. What could not be sent within
    /// [`Terms::drain`] is counted as lost.
    pub async fn finish(self) {
        self.buffer.queue.close();
        drop(self.ingress_ended);
        // If the task panicked, the task tracker reports it.
        drop(self.sending.await);
    }
}
