//! Admission to costly work: a limited number of callers work at a time, and a limited number wait for their turn.
//!
//! An [`AdmissionQueue`] limits all callers together. [`PerCaller`] has one queue for each user or client with attempts
//! under way, so that the attempts of one of them cannot fill the common queue: 4 run at a time, 16 wait in the order of
//! their arrival, each for at most 10 s.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The number of attempts of one caller that run at a time.
const RUNNING_PER_CALLER: usize = 4;

/// The number of attempts of one caller that wait for a turn; further ones are refused.
const WAITING_PER_CALLER: usize = 16;

/// The longest time that an attempt waits for a turn of its caller.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A semaphore with a limited number of waiting callers.
#[derive(Debug)]
pub struct AdmissionQueue {
    turns: Arc<Semaphore>,
    /// The number of attempts that have a turn or wait for one.
    entered: AtomicUsize,
    /// The limit of `entered`.
    capacity: usize,
}

/// A place in an [`AdmissionQueue`], running or waiting. Dropping it frees the place.
#[derive(Debug)]
struct Place {
    queue: Arc<AdmissionQueue>,
}

/// The right to run now. Dropping it lets the next caller run.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl AdmissionQueue {
    /// Returns a queue in which `running` callers have a turn at a time, and `waiting` callers wait for one.
    pub fn new(running: usize, waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(running)),
            entered: AtomicUsize::new(0),
            capacity: running.saturating_add(waiting),
        })
    }

    /// Waits for a turn, in the order of arrival. Returns `None` at once if the queue is full or closed.
    ///
    /// Cancel safe: a dropped call leaves the queue.
    pub async fn take(self: &Arc<Self>) -> Option<Turn> {
        self.enter()?.turn().await
    }

    /// The number of attempts that have a turn or wait for one.
    pub fn entered(&self) -> usize {
        self.entered.load(Ordering::Relaxed)
    }

    /// Closes the queue: waiting callers get `None`, and turns that were given stay valid.
    pub fn close(&self) {
        self.turns.close();
    }

    fn enter(self: &Arc<Self>) -> Option<Place> {
        // The place exists before the check, so that dropping it takes the count back if the queue is full. The counter
        // guards no other memory, so `Relaxed` is enough.
        let before = self.entered.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            queue: Arc::clone(self),
        };
        (before < self.capacity).then_some(place)
    }
}

impl Place {
    async fn turn(self) -> Option<Turn> {
        let permit = Arc::clone(&self.queue.turns).acquire_owned().await.ok()?;
        Some(Turn {
            _permit: permit,
            _place: self,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.entered.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One [`AdmissionQueue`] for each caller that has attempts under way. Clones share the queues.
#[derive(Debug, Clone, Default)]
pub struct PerCaller {
    queues: Arc<Mutex<HashMap<String, Arc<AdmissionQueue>>>>,
}

/// Removes the queue of a caller when it is dropped and the queue is empty.
#[derive(Debug)]
struct CallerEntry {
    all: PerCaller,
    caller: String,
}

/// A turn of one caller. Dropping it lets the next attempt of that caller run.
#[derive(Debug)]
pub struct CallerTurn {
    // Fields are dropped in the order of declaration: the turn leaves the queue first, so that `CallerEntry` sees whether
    // the queue is empty.
    _turn: Turn,
    _entry: CallerEntry,
}

impl PerCaller {
    /// Waits for a turn of `caller`. Returns `None` at once if too many attempts of that caller wait, and after 10 s without
    /// a turn.
    ///
    /// Cancel safe: a dropped call leaves the queue.
    pub async fn take(&self, caller: &str) -> Option<CallerTurn> {
        let place = {
            // The place is taken under the lock of the map: otherwise the queue could be removed as empty in between.
            let mut queues = self.queues.lock();
            let queue = queues
                .entry(caller.to_owned())
                .or_insert_with(|| AdmissionQueue::new(RUNNING_PER_CALLER, WAITING_PER_CALLER));
            queue.enter()?
        };
        let entry = CallerEntry {
            all: self.clone(),
            caller: caller.to_owned(),
        };
        let turn = tokio::time::timeout(MAX_WAIT, place.turn()).await.ok()??;
        Some(CallerTurn {
            _turn: turn,
            _entry: entry,
        })
    }
}

impl Drop for CallerEntry {
    fn drop(&mut self) {
        let mut queues = self.all.queues.lock();
        if queues.get(&self.caller).is_some_and(|queue| queue.entered() == 0) {
            queues.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// A full queue refuses at once, a caller that stops waiting makes room, and a closed queue gives no turn.
    #[tokio::test]
    async fn a_full_queue_refuses() {
        let queue = AdmissionQueue::new(1, 1);
        let turn = queue.take().now_or_never().unwrap().unwrap();
        let mut waiting = Box::pin(queue.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(queue.take().now_or_never().unwrap().is_none(), "the queue is full");
        assert_eq!(queue.entered(), 2);
        drop(waiting);
        let mut waiting = Box::pin(queue.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(turn);
        drop(waiting.await.unwrap());
        queue.close();
        assert!(queue.take().await.is_none());
        assert_eq!(queue.entered(), 0);
    }

    /// Four attempts of one caller run and sixteen wait, other callers are not affected, and no queue is left at the end.
    #[tokio::test(start_paused = true)]
    async fn attempts_of_one_caller_are_limited() {
        let callers = PerCaller::default();
        let mut taken = Vec::new();
        for _ in 0..RUNNING_PER_CALLER {
            taken.push(callers.take("a").now_or_never().unwrap().unwrap());
        }
        let mut waiting: Vec<_> = (0..WAITING_PER_CALLER).map(|_| Box::pin(callers.take("a"))).collect();
        for waits in &mut waiting {
            assert!(waits.now_or_never().is_none());
        }
        assert!(
            callers.take("a").now_or_never().unwrap().is_none(),
            "the queue of the caller is full"
        );
        let other = callers.take("b").now_or_never().unwrap().unwrap();
        // The first to arrive runs next, and one that stops waiting makes room.
        taken.pop();
        assert!(waiting[1].as_mut().now_or_never().is_none());
        let next = waiting.remove(0).now_or_never().unwrap().unwrap();
        waiting.pop();
        let mut late = Box::pin(callers.take("a"));
        assert!(late.as_mut().now_or_never().is_none());
        // With paused time, the wait ends at its limit.
        assert!(late.await.is_none());
        assert!(waiting.remove(0).await.is_none());
        drop((taken, next, waiting, other));
        assert!(callers.queues.lock().is_empty());
    }
}
