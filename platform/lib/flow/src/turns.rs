//! Turns: shares expensive work out among the callers that ask for it.
//!
//! A limited number of requests run at a time, and a limited number wait. The next turn goes to the caller with the
//! fewest running requests; among equals, to the one whose last turn is longest ago, and then to the one that came
//! first. So a caller with many requests waits for itself and not for others.
//!
//! A single caller may have all turns but one, which is kept for another caller, and all waiting places. When all
//! places are used, a caller with fewer of them displaces the last request of the caller with the most, which fails
//! with [`Busy`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::oneshot;

/// The error if too many requests wait already. The caller can try again in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("`{running}` requests are running and `{waiting}` are waiting")]
pub struct Busy {
    /// The number of requests that run at a time.
    pub running: usize,
    /// The number of requests that may wait.
    pub waiting: usize,
}

/// The turns of all callers. Clones share them.
#[derive(Debug, Clone)]
pub struct Turns {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Busy,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// The callers that have running or waiting requests.
    callers: HashMap<Arc<str>, Share>,
    running: usize,
    waiting: usize,
    /// The number of turns given out so far.
    turns: u64,
    /// The number of waiting places given out so far.
    places: u64,
}

/// The requests of one caller.
#[derive(Debug, Default)]
struct Share {
    running: usize,
    /// The waiting requests, in the order in which they came.
    waiting: VecDeque<Waiting>,
    /// The number of the caller's last turn; 0 if it had none.
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    place: u64,
    go: oneshot::Sender<Turn>,
}

/// A turn, which ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    shared: Arc<Shared>,
    caller: Arc<str>,
}

/// A waiting place, which is given up when this is dropped.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    caller: Arc<str>,
    place: u64,
    /// Receives the turn. It is dropped after the `Drop` of the place, which ends a turn that was already sent.
    go: oneshot::Receiver<Turn>,
}

impl Turns {
    /// Returns turns for `running` requests at a time and `waiting` waiting ones.
    #[must_use]
    pub fn new(running: usize, waiting: usize) -> Self {
        let limits = Busy {
            running: running.max(1),
            waiting,
        };
        Self {
            shared: Arc::new(Shared {
                limits,
                queue: Mutex::default(),
            }),
        }
    }

    /// Waits for a turn of `caller`. Cancel safe.
    ///
    /// # Errors
    /// If too many requests wait, or if this one is displaced by a caller with fewer waiting requests.
    pub async fn take(&self, caller: &str) -> Result<Turn, Busy> {
        let mut place = match self.shared.enter(caller)? {
            Entered::Turn(turn) => return Ok(turn),
            Entered::Place(place) => place,
        };
        (&mut place.go).await.map_err(|_| self.shared.limits)
    }

    /// Returns the number of running and of waiting requests.
    #[must_use]
    pub fn taken(&self) -> (usize, usize) {
        let queue = self.shared.queue.lock();
        (queue.running, queue.waiting)
    }
}

enum Entered {
    Turn(Turn),
    Place(Place),
}

impl Shared {
    /// The greatest number of turns of one caller.
    fn most(&self) -> usize {
        (self.limits.running - 1).max(1)
    }

    fn enter(self: &Arc<Self>, caller: &str) -> Result<Entered, Busy> {
        let mut guard = self.queue.lock();
        let queue = &mut *guard;
        let mine = queue.callers.get(caller);
        let (running, waiting) = mine.map_or((0, 0), |share| (share.running, share.waiting.len()));
        let caller: Arc<str> = caller.into();
        // If a turn is free, no waiting request may have it: its caller has its greatest number of turns. So this
        // request does not overtake another.
        if queue.running < self.limits.running && running < self.most() {
            return Ok(Entered::Turn(self.turn(queue, caller)));
        }
        if queue.waiting >= self.limits.waiting && !queue.displace(waiting + 1) {
            return Err(self.limits);
        }
        let (sender, go) = oneshot::channel();
        queue.places += 1;
        queue.waiting += 1;
        let place = queue.places;
        let share = queue.callers.entry(Arc::clone(&caller)).or_default();
        share.waiting.push_back(Waiting { place, go: sender });
        Ok(Entered::Place(Place {
            shared: Arc::clone(self),
            caller,
            place,
            go,
        }))
    }

    /// Gives a turn to `caller`.
    fn turn(self: &Arc<Self>, queue: &mut Queue, caller: Arc<str>) -> Turn {
        queue.turns += 1;
        queue.running += 1;
        let share = queue.callers.entry(Arc::clone(&caller)).or_default();
        share.running += 1;
        share.last = queue.turns;
        Turn {
            shared: Arc::clone(self),
            caller,
        }
    }

    /// Ends a turn of `caller`, and returns the waiting request that gets the next one.
    fn give_back(self: &Arc<Self>, caller: &str) -> Option<(Waiting, Turn)> {
        let mut guard = self.queue.lock();
        let queue = &mut *guard;
        queue.running -= 1;
        if let Some(share) = queue.callers.get_mut(caller) {
            share.running -= 1;
        }
        queue.forget_idle(caller);
        // One turn became free, so at most one waiting request can start.
        let (next, waiting) = queue.next(self.most())?;
        let turn = self.turn(queue, next);
        Some((waiting, turn))
    }
}

impl Queue {
    /// Removes and returns the waiting request that is next.
    fn next(&mut self, most: usize) -> Option<(Arc<str>, Waiting)> {
        let eligible = self
            .callers
            .iter_mut()
            .filter(|(_, share)| !share.waiting.is_empty() && share.running < most);
        let first = |share: &Share| share.waiting.front().map(|waiting| waiting.place);
        let (caller, share) = eligible.min_by_key(|(_, share)| (share.running, share.last, first(share)))?;
        let waiting = share.waiting.pop_front()?;
        self.waiting -= 1;
        Some((Arc::clone(caller), waiting))
    }

    /// Removes the last waiting request of the caller with the most, if that has more than `wanted`.
    fn displace(&mut self, wanted: usize) -> bool {
        let heaviest = self.callers.values_mut().max_by_key(|share| share.waiting.len());
        let Some(share) = heaviest.filter(|share| share.waiting.len() > wanted) else {
            return false;
        };
        share.waiting.pop_back();
        self.waiting -= 1;
        true
    }

    fn forget_idle(&mut self, caller: &str) {
        let idle = |share: &Share| share.running == 0 && share.waiting.is_empty();
        if self.callers.get(caller).is_some_and(idle) {
            self.callers.remove(caller);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((waiting, turn)) = self.shared.give_back(&self.caller) {
            // Outside the lock: if the receiver is gone, the turn is dropped here, which takes the lock again.
            drop(waiting.go.send(turn));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        if let Some(share) = queue.callers.get_mut(&self.caller) {
            let before = share.waiting.len();
            share.waiting.retain(|waiting| waiting.place != self.place);
            let left = before - share.waiting.len();
            queue.waiting -= left;
        }
        queue.forget_idle(&self.caller);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures::FutureExt as _;

    use super::*;

    type Asked = Pin<Box<dyn Future<Output = Result<Turn, Busy>>>>;

    /// Starts a request for a turn, which may be waiting afterwards.
    fn ask(turns: &Turns, caller: &'static str) -> Asked {
        let turns = turns.clone();
        let mut asked: Asked = Box::pin(async move { turns.take(caller).await });
        match (&mut asked).now_or_never() {
            Some(answer) => Box::pin(async { answer }),
            None => asked,
        }
    }

    fn now(asked: &mut Asked) -> Option<Result<Turn, Busy>> {
        asked.now_or_never()
    }

    fn turn(asked: &mut Asked) -> Turn {
        now(asked).expect("at once").expect("a turn")
    }

    fn is_idle(turns: &Turns) -> bool {
        let queue = turns.shared.queue.lock();
        queue.callers.is_empty() && queue.running == 0 && queue.waiting == 0
    }

    /// While one caller has many requests, the first request of another runs at once, and waiting callers get turns
    /// alternately.
    #[test]
    fn a_caller_with_many_requests_does_not_delay_others() {
        let turns = Turns::new(3, 24);
        let mut running: VecDeque<Turn> = (0..2).map(|_| turn(&mut ask(&turns, "greedy"))).collect();
        let asked = |caller| (caller, ask(&turns, caller));
        let mut waiting: Vec<(&str, Asked)> = (0..20).map(|_| asked("greedy")).collect();
        let first = turn(&mut ask(&turns, "b"));
        waiting.extend(["b", "c", "b"].map(asked));
        assert!(waiting.iter_mut().all(|(_, asked)| now(asked).is_none()));
        let mut order = Vec::new();
        drop(first);
        for _ in 0..5 {
            waiting.retain_mut(|(caller, asked)| match now(asked) {
                Some(turn) => {
                    order.push(*caller);
                    running.push_back(turn.expect("a turn"));
                    false
                }
                None => true,
            });
            drop(running.pop_front());
        }
        // Callers without a running request come first, and of these `c`, which has had no turn yet.
        assert_eq!(order, ["c", "b", "greedy", "b", "greedy"]);
        drop((running, waiting));
        assert!(is_idle(&turns));
    }

    /// Any caller can use all waiting places, and is displaced by callers with fewer, until the places are shared
    /// equally.
    #[test]
    fn waiting_places_are_shared() {
        let turns = Turns::new(1, 8);
        let running = turn(&mut ask(&turns, "greedy"));
        let mut greedy: Vec<Asked> = (0..8).map(|_| ask(&turns, "greedy")).collect();
        assert!(greedy.iter_mut().all(|asked| now(asked).is_none()));
        let busy = |asked: &mut Asked| matches!(now(asked), Some(Err(Busy { running: 1, waiting: 8 })));
        assert!(busy(&mut ask(&turns, "greedy")), "its own places are taken");
        let mut other: Vec<Asked> = (0..4).map(|_| ask(&turns, "other")).collect();
        assert!(other.iter_mut().all(|asked| now(asked).is_none()));
        let mut one_more = ask(&turns, "other");
        assert!(busy(&mut one_more), "that would be more than the first has left");
        let cut: Vec<bool> = greedy.iter_mut().map(busy).collect();
        assert_eq!(
            cut,
            [false, false, false, false, true, true, true, true],
            "the last ones"
        );
        drop(running);
        let turn_of_other = turn(&mut other[0]);
        drop((greedy, other, turn_of_other, one_more));
        assert!(is_idle(&turns));
    }

    /// A request that is dropped gives up its place, and also a turn that was already sent to it.
    #[test]
    fn a_dropped_request_leaves_no_state() {
        let turns = Turns::new(1, 8);
        let running = turn(&mut ask(&turns, "a"));
        let (gone, granted, mut last) = (ask(&turns, "b"), ask(&turns, "c"), ask(&turns, "d"));
        drop(gone);
        drop(running);
        assert!(now(&mut last).is_none(), "it is the turn of c");
        drop(granted);
        drop(turn(&mut last));
        assert!(is_idle(&turns));
    }
}
