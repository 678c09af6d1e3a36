//! The way out of an agent: a bounded, fair buffer, and acknowledged links to one of several equal peers that empty it.
//!
//! ```text
//! Buffer (FairQueue) ─▶ Egress: packs, hands out ─▶ lanes, one open link each ─▶ peers
//!                                                  ▲ one connector per peer opens them again and again
//! ```
//!
//! Pushing never waits: what does not fit costs the source that fills the buffer its oldest, and is counted at the hop that
//! the [`Terms`] name. A parcel is in the buffer, on a link, or accounted for.
//!
//! **How long an absent peer is waited for.** The receipts of what waits here hold up the producers that want to know when
//! everything is *taken*. With [`Terms::patience`], an outlet that has been without any peer for so long lets go of that:
//! its envelopes stay in the buffer and are sent or counted as before, but no producer is kept waiting for them.

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

/// How an outlet works.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What the other end is, for logs: `doppler`.
    pub peer: &'static str,
    /// Where losses of the buffer are booked.
    pub buffer_hop: &'static str,
    /// Where losses behind the buffer are booked.
    pub link_hop: &'static str,
    /// What waits.
    pub capacity: Capacity,
    /// What one peer may have without acknowledging it.
    pub limit: InFlightLimit,
    /// How long producers are kept waiting while no peer is connected; for ever if `None`.
    pub patience: Option<Duration>,
    /// How long what is buffered may take to leave at the end.
    pub drain: Duration,
}

/// The end that takes parcels. Clones share it.
#[derive(Debug, Clone)]
pub struct Buffer {
    queue: Arc<FairQueue>,
    ledger: Arc<Ledger>,
    hop: &'static str,
    shared: Arc<Shared>,
}

/// What the two ends tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// Peers that are connected.
    connected: AtomicUsize,
    /// Nobody has been connected for longer than the patience.
    given_up: AtomicBool,
}

impl Buffer {
    /// Appends a parcel; counts what had to go to make room for it.
    pub fn push(&self, mut parcel: Parcel) {
        let given_up = self.shared.given_up.load(Ordering::Acquire);
        if given_up {
            release_taken(&mut parcel);
        }
        let losses = self.queue.push(parcel);
        if !given_up && self.shared.given_up.load(Ordering::Acquire) {
            // It was given up just now, and this one may have come too late to be let go of with the others.
            self.queue.release_taken();
        }
        if !losses.is_empty() {
            // A closed queue takes nothing: the agent stops, and this came too late.
            let reason = if self.queue.is_closed() {
                Reason::ShuttingDown
            } else {
                Reason::BufferFull
            };
            self.ledger.lost(self.hop, reason, &losses);
        }
    }

    /// Envelopes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many peers are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::Relaxed)
    }
}

/// Producers are not kept waiting for this one.
fn release_taken(parcel: &mut Parcel) {
    for receipt in &mut parcel.receipts {
        receipt.release_taken();
    }
}

/// The end that sends, at work.
#[derive(Debug)]
pub struct Outlet {
    buffer: Buffer,
    ingress_ended: oneshot::Sender<()>,
    sending: JoinHandle<()>,
}

impl Outlet {
    /// Starts sending to `targets`.
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
                // Ends either way: the other end is dropped at the latest.
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
            links_go.fire();
            egress.finish(Instant::now() + drain).await;
        });
        Self {
            buffer,
            ingress_ended,
            sending,
        }
    }

    /// The end that takes parcels.
    #[must_use]
    pub fn buffer(&self) -> Buffer {
        self.buffer.clone()
    }

    /// Takes no more; waits until what is buffered has left and the links have ended in order. What could not leave in time
    /// is counted.
    pub async fn finish(self) {
        self.buffer.queue.close();
        drop(self.ingress_ended);
        // A panic there is the tasks' to report.
        drop(self.sending.await);
    }
}
