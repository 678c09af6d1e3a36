//! A connection's place at its port: whether a request is under way, since when the connection is idle, and whether it
//! has to make room for another one.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::PeerNetwork;
use super::budget::{Budget, Charge};
use super::pool::{Full, Pool};

/// The instant from which idle times are counted.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The state of a connection that a pool looks at.
#[derive(Debug)]
pub(super) struct Seat {
    under_way: AtomicUsize,
    /// The end of the last request, in microseconds after [`START`]. It means something only while no request is under
    /// way.
    idle_since: AtomicU64,
    leaving: AtomicBool,
    /// Wakes the task that reads from the connection.
    reader: AtomicWaker,
}

impl Default for Seat {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            idle_since: AtomicU64::new(now()),
            leaving: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }
}

impl Seat {
    pub(super) fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.idle_since.store(now(), Ordering::Relaxed);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Since when the connection is idle, in microseconds after [`START`]. `None` while a request is under way.
    pub(super) fn idle_since(&self) -> Option<u64> {
        // A request that begins at this moment may not be seen. Its connection is then closed as if it were still idle,
        // which a client has to expect of any idle connection.
        (self.under_way.load(Ordering::Relaxed) == 0).then(|| self.idle_since.load(Ordering::Relaxed))
    }

    pub(super) fn ask_to_leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.reader.wake();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Ready when the connection has to leave. Wakes one task: the one that polled last.
    pub(super) fn poll_leaving(&self, cx: &Context<'_>) -> Poll<()> {
        // The waker is registered before the flag is read, so that a request to leave in between is not missed.
        self.reader.register(cx.waker());
        if self.is_leaving() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

fn now() -> u64 {
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A place among the connections of a port, which is free again when all clones are dropped.
///
/// A connection is idle until its component says that a request is under way ([`Place::begin`]). An idle connection may
/// lose its place to another one. It then reads as ended by its peer, after what has arrived.
#[derive(Debug, Clone)]
pub struct Place(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    pool: Arc<Pool>,
    network: PeerNetwork,
    seat: Arc<Seat>,
    held: Arc<Budget>,
    /// Keeps [`Connections::all_closed`](super::Connections::all_closed) waiting until all places are free.
    open: mpsc::Sender<Infallible>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.pool.leave(self.network, &self.seat);
    }
}

impl Place {
    /// Takes a place in `pool` for a connection whose requests are charged to `held`.
    pub(super) fn take(
        pool: &Arc<Pool>,
        network: PeerNetwork,
        held: Arc<Budget>,
        open: mpsc::Sender<Infallible>,
    ) -> Result<Self, Full> {
        let seat = Arc::default();
        pool.enter(network, &seat)?;
        let pool = Arc::clone(pool);
        Ok(Self(Arc::new(Taken {
            pool,
            network,
            seat,
            held,
            open,
        })))
    }

    /// Takes a place in `pool` for this connection. Its present place is free once `self` is dropped.
    pub(super) fn change(&self, pool: &Arc<Pool>) -> Result<Self, Full> {
        let taken = &self.0;
        pool.enter(taken.network, &taken.seat)?;
        Ok(Self(Arc::new(Taken {
            pool: Arc::clone(pool),
            network: taken.network,
            seat: Arc::clone(&taken.seat),
            held: Arc::clone(&taken.held),
            open: taken.open.clone(),
        })))
    }

    pub(super) fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.0.seat)
    }

    /// Marks the connection as busy until the returned guard is dropped.
    #[must_use]
    pub fn begin(&self) -> UnderWay {
        self.0.seat.begin();
        UnderWay(Arc::clone(&self.0))
    }

    /// Begins the charge of a new request on the connection.
    pub(crate) fn charge(&self) -> Charge {
        Charge::new(Arc::clone(&self.0.held))
    }
}

/// A request that is under way on a connection. As long as it exists, the connection keeps its place.
#[derive(Debug)]
pub struct UnderWay(Arc<Taken>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.seat.end();
    }
}
