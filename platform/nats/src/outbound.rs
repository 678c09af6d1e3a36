//! What waits to be written to one connection.
//!
//! Publishers append messages under a short lock, into one buffer, and remember whom they have to wake when their own batch
//! is over; the connection's task takes the whole buffer and writes it. A connection that does not keep up ends: its
//! buffer is bounded, and so are the buffers of all connections together, where a connection within its share is safe from
//! what others let pile up.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::budget::Budget;
use crate::ending::Ending;

/// The common budget is used in portions of this size, so that not every message touches it.
const PORTION: usize = 64 << 10;

/// How much may wait for connections.
#[derive(Debug, Clone)]
pub(crate) struct OutboundLimits {
    /// Most bytes for one connection.
    pub(crate) connection: usize,
    /// Bytes for one connection that it may have even if the common budget is used up.
    pub(crate) share: usize,
    /// The bytes for all connections.
    pub(crate) all: Arc<Budget>,
}

/// The outgoing bytes of one connection.
#[derive(Debug)]
pub(crate) struct Outbound {
    pending: Mutex<Pending>,
    writer: AtomicWaker,
    limits: OutboundLimits,
}

#[derive(Debug, Default)]
struct Pending {
    buffer: Vec<u8>,
    /// Bytes that were taken to be written, and may not be written yet.
    taken: usize,
    /// Bytes of the common budget that this connection holds.
    reserved: usize,
    /// Whether somebody will wake the writer for what is in the buffer.
    announced: bool,
    /// Why the connection ends, if it does.
    ending: Option<Ending>,
}

/// What became of bytes that were appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// The caller has to wake the writer when its batch is over: nobody else will.
    pub(crate) first: bool,
    /// How many bytes wait now.
    pub(crate) waiting: usize,
}

impl Outbound {
    pub(crate) fn new(limits: OutboundLimits) -> Self {
        Self {
            pending: Mutex::default(),
            writer: AtomicWaker::new(),
            limits,
        }
    }

    /// Appends `length` bytes, which `write` writes. `None` if the connection ends: it ends here if it has too much already.
    pub(crate) fn push(&self, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Option<Pushed> {
        let mut pending = self.pending.lock();
        if pending.ending.is_some() {
            return None;
        }
        let waiting = pending.taken + pending.buffer.len() + length;
        if waiting > self.limits.connection || !self.reserve(&mut pending, waiting) {
            pending.ending = Some(Ending::SlowConsumer);
            pending.buffer = Vec::new();
            drop(pending);
            self.wake();
            return None;
        }
        pending.buffer.reserve(length);
        write(&mut pending.buffer);
        let first = !std::mem::replace(&mut pending.announced, true);
        Some(Pushed { first, waiting })
    }

    /// Whether the connection may have so many bytes waiting.
    fn reserve(&self, pending: &mut Pending, waiting: usize) -> bool {
        if waiting <= pending.reserved {
            return true;
        }
        let more = (waiting - pending.reserved).next_multiple_of(PORTION);
        pending.reserved += more;
        self.limits.all.take(more) || waiting <= self.limits.share
    }

    /// Takes all that waits, and leaves the empty `spare` in its place. What was taken before counts as written.
    pub(crate) fn take(&self, spare: Vec<u8>) -> Vec<u8> {
        let mut pending = self.pending.lock();
        let taken = std::mem::replace(&mut pending.buffer, spare);
        pending.taken = taken.len();
        pending.announced = false;
        if taken.is_empty() && pending.reserved > 0 {
            self.limits.all.give(std::mem::take(&mut pending.reserved));
        }
        taken
    }

    /// How many bytes wait.
    pub(crate) fn waiting(&self) -> usize {
        let pending = self.pending.lock();
        pending.taken + pending.buffer.len()
    }

    /// Ends the connection, unless it ends already. Call [`Outbound::wake`] afterwards.
    pub(crate) fn end(&self, ending: Ending) {
        self.pending.lock().ending.get_or_insert(ending);
    }

    /// Why the connection ends, if somebody else has ended it.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.pending.lock().ending
    }

    /// Waits until somebody else ends the connection, and returns why.
    pub(crate) async fn ended(&self) -> Ending {
        poll_fn(|cx| {
            self.register(cx.waker());
            self.ending().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Takes nothing any more, and returns what waits.
    pub(crate) fn close(&self) -> Vec<u8> {
        let mut pending = self.pending.lock();
        pending.ending.get_or_insert(Ending::Gone);
        self.limits.all.give(std::mem::take(&mut pending.reserved));
        pending.taken = 0;
        std::mem::take(&mut pending.buffer)
    }

    /// The task that writes is woken by this waker.
    pub(crate) fn register(&self, waker: &Waker) {
        self.writer.register(waker);
    }

    /// Wakes the task that writes.
    pub(crate) fn wake(&self) {
        self.writer.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound(connection: usize, share: usize, all: &Arc<Budget>) -> Outbound {
        Outbound::new(OutboundLimits {
            connection,
            share,
            all: Arc::clone(all),
        })
    }

    fn push(outbound: &Outbound, bytes: usize) -> Option<Pushed> {
        outbound.push(bytes, |buffer| buffer.resize(buffer.len() + bytes, b'x'))
    }

    /// The first bytes after each take need a waker, the others do not.
    #[test]
    fn who_comes_first_wakes() {
        let all = Arc::new(Budget::new(1 << 20));
        let outbound = outbound(1 << 20, 0, &all);
        let pushed = |first, waiting| Some(Pushed { first, waiting });
        assert_eq!(push(&outbound, 10), pushed(true, 10));
        assert_eq!(push(&outbound, 10), pushed(false, 20));
        assert_eq!(outbound.take(Vec::new()).len(), 20);
        assert_eq!(
            push(&outbound, 5),
            pushed(true, 25),
            "what was taken may not be written yet"
        );
        assert_eq!(outbound.take(Vec::new()).len(), 5);
        assert!(outbound.take(Vec::new()).is_empty());
        assert_eq!((outbound.waiting(), all.used()), (0, 0));
    }

    /// A connection that has more than its limit ends, takes nothing any more and holds nothing.
    #[test]
    fn a_slow_consumer_ends() {
        let all = Arc::new(Budget::new(1 << 20));
        let outbound = outbound(100, 0, &all);
        assert!(push(&outbound, 100).is_some());
        assert_eq!(push(&outbound, 1), None);
        assert_eq!(outbound.ending(), Some(Ending::SlowConsumer));
        assert_eq!(push(&outbound, 1), None);
        assert_eq!(outbound.waiting(), 0);
        outbound.close();
        assert_eq!(all.used(), 0);
    }

    /// Where the common budget is used up, a connection within its share goes on, and one beyond it ends.
    #[test]
    fn a_share_is_safe_from_others() {
        let all = Arc::new(Budget::new(2 * PORTION));
        let (greedy, modest) = (outbound(1 << 30, PORTION, &all), outbound(1 << 30, PORTION, &all));
        assert!(push(&greedy, 2 * PORTION).is_some());
        assert!(push(&modest, PORTION).is_some());
        assert_eq!(push(&greedy, 1), None);
        assert!(push(&modest, 0).is_some());
        greedy.close();
        assert!(push(&modest, 1).is_some(), "there is room again");
    }
}
