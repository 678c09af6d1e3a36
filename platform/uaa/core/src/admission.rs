//! Who may do something costly now: so many at a time, and a line of bounded length behind them.
//!
//! A [`Gate`] bounds what all callers do together. [`PerCaller`] has a gate for each name that is in use, so that attempts
//! as one user or client do not take all places of the gate behind it: four at a time, sixteen that wait for those in their
//! order, and not for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most attempts under way for one caller.
const MOST_PER_CALLER: usize = 4;

/// Most attempts that wait for those of one caller.
const WAITING_PER_CALLER: usize = 16;

/// How long an attempt waits for those of its own caller.
const PATIENCE: Duration = Duration::from_secs(10);

/// A semaphore whose line has an end.
#[derive(Debug)]
pub struct Gate {
    turns: Arc<Semaphore>,
    /// The number of attempts that have a turn or wait for one.
    entered: AtomicUsize,
    most: usize,
}

/// A place in the line of a gate; given up when dropped.
#[derive(Debug)]
struct Place {
    gate: Arc<Gate>,
}

/// A turn, and the place that led to it; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl Gate {
    /// Returns a gate for `running` turns at a time, and `waiting` callers that wait for one.
    pub fn new(running: usize, waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(running)),
            entered: AtomicUsize::new(0),
            most: running.saturating_add(waiting),
        })
    }

    /// Waits for a turn, in the order of the callers; `None` at once if the line is full, or when the gate is closed.
    ///
    /// Cancel safe: who stops waiting leaves the line.
    pub async fn take(self: &Arc<Self>) -> Option<Turn> {
        self.enter()?.turn().await
    }

    /// The number of attempts that have a turn or wait for one.
    pub fn entered(&self) -> usize {
        self.entered.load(Ordering::Relaxed)
    }

    /// Gives no more turns. Those that are taken go on.
    pub fn close(&self) {
        self.turns.close();
    }

    fn enter(self: &Arc<Self>) -> Option<Place> {
        let before = self.entered.fetch_add(1, Ordering::Relaxed);
        let place = Place { gate: Arc::clone(self) };
        (before < self.most).then_some(place)
    }
}

impl Place {
    async fn turn(self) -> Option<Turn> {
        let permit = Arc::clone(&self.gate.turns).acquire_owned().await.ok()?;
        Some(Turn {
            _permit: permit,
            _place: self,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.entered.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A gate for each caller of whom something is under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct PerCaller {
    gates: Arc<Mutex<HashMap<String, Arc<Gate>>>>,
}

/// A caller's gate among the others; it goes with the last of its turns and places.
#[derive(Debug)]
struct Seat {
    all: PerCaller,
    caller: String,
}

/// A turn of a caller; given back when dropped.
#[derive(Debug)]
pub struct CallerTurn {
    // Dropped in this order: an empty gate is one that nobody needs.
    _turn: Turn,
    _seat: Seat,
}

impl PerCaller {
    /// Waits for a turn of `caller`; `None` if too many wait for this caller, or it takes too long.
    ///
    /// Cancel safe: who stops waiting leaves the line.
    pub async fn take(&self, caller: &str) -> Option<CallerTurn> {
        let place = {
            let mut gates = self.gates.lock();
            let gate = gates
                .entry(caller.to_owned())
                .or_insert_with(|| Gate::new(MOST_PER_CALLER, WAITING_PER_CALLER));
            gate.enter()?
        };
        let seat = Seat {
            all: self.clone(),
            caller: caller.to_owned(),
        };
        let turn = tokio::time::timeout(PATIENCE, place.turn()).await.ok()??;
        Some(CallerTurn {
            _turn: turn,
            _seat: seat,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut gates = self.all.gates.lock();
        if gates.get(&self.caller).is_some_and(|gate| gate.entered() == 0) {
            gates.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// So many have a turn, so many wait, and the rest are refused at once; whoever gives up makes room, and a closed gate
    /// lets nobody in.
    #[tokio::test]
    async fn a_line_has_an_end() {
        let gate = Gate::new(1, 1);
        let turn = gate.take().now_or_never().unwrap().unwrap();
        let mut waiting = Box::pin(gate.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(gate.take().now_or_never().unwrap().is_none(), "the line is full");
        assert_eq!(gate.entered(), 2);
        drop(waiting);
        let mut waiting = Box::pin(gate.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(turn);
        drop(waiting.await.unwrap());
        gate.close();
        assert!(gate.take().await.is_none());
        assert_eq!(gate.entered(), 0);
    }

    /// Four at once for one caller, some that wait for them, any number of callers, and nothing stays behind.
    #[tokio::test(start_paused = true)]
    async fn four_at_once() {
        let callers = PerCaller::default();
        let mut taken = Vec::new();
        for _ in 0..MOST_PER_CALLER {
            taken.push(callers.take("a").now_or_never().unwrap().unwrap());
        }
        let mut waiting: Vec<_> = (0..WAITING_PER_CALLER).map(|_| Box::pin(callers.take("a"))).collect();
        for waits in &mut waiting {
            assert!(waits.now_or_never().is_none());
        }
        assert!(
            callers.take("a").now_or_never().unwrap().is_none(),
            "the line has an end"
        );
        let other = callers.take("b").now_or_never().unwrap().unwrap();
        // Whoever came first is next; whoever gives up makes room.
        taken.pop();
        assert!(waiting[1].as_mut().now_or_never().is_none());
        let next = waiting.remove(0).now_or_never().unwrap().unwrap();
        waiting.pop();
        let mut late = Box::pin(callers.take("a"));
        assert!(late.as_mut().now_or_never().is_none());
        // Not for ever.
        assert!(late.await.is_none());
        assert!(waiting.remove(0).await.is_none());
        drop((taken, next, waiting, other));
        assert!(callers.gates.lock().is_empty());
    }
}
