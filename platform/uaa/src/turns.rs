//! How many attempts as one user or client may be under way: the queues for hashing are everybody's.
//!
//! Four at a time for one name; some more wait for those, in their order and not for ever. Whoever waits has four before
//! them that stand in a queue with an end, so that there are never more than a few times as many as stand there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most attempts under way for one name.
const MOST: usize = 4;

/// Most that wait for them.
const WAITING: usize = 16;

/// How long they do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is being attempted now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    under_way: Arc<Mutex<HashMap<String, Name>>>,
}

#[derive(Debug)]
struct Name {
    turns: Arc<Semaphore>,
    /// Who has a turn or waits for one.
    count: usize,
}

/// A place in the line; given back when dropped, at whatever point.
#[derive(Debug)]
struct Place {
    turns: Turns,
    principal: String,
}

/// A turn; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl Turns {
    /// A turn for an attempt, when there is one; `None` if too many wait for this name, or it takes too long.
    ///
    /// Cancel safe: who stops waiting leaves the line.
    pub(crate) async fn take(&self, principal: &str) -> Option<Turn> {
        let (place, turns) = self.place(principal)?;
        let permit = tokio::time::timeout(PATIENCE, turns.acquire_owned()).await.ok()?.ok()?;
        Some(Turn {
            _permit: permit,
            _place: place,
        })
    }

    fn place(&self, principal: &str) -> Option<(Place, Arc<Semaphore>)> {
        let mut under_way = self.under_way.lock();
        let name = under_way.entry(principal.to_owned()).or_insert_with(|| Name {
            turns: Arc::new(Semaphore::new(MOST)),
            count: 0,
        });
        if name.count >= MOST + WAITING {
            return None;
        }
        name.count += 1;
        let place = Place {
            turns: self.clone(),
            principal: principal.to_owned(),
        };
        Some((place, Arc::clone(&name.turns)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.turns.under_way.lock();
        if let Some(name) = under_way.get_mut(&self.principal) {
            name.count -= 1;
            if name.count == 0 {
                under_way.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// Four at once for one name, some that wait for them, any number of names, and nothing stays behind.
    #[tokio::test(start_paused = true)]
    async fn four_at_once() {
        let turns = Turns::default();
        let mut taken = Vec::new();
        for _ in 0..MOST {
            taken.push(turns.take("a").now_or_never().unwrap().unwrap());
        }
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(turns.take("a"))).collect();
        for waits in &mut waiting {
            assert!(waits.now_or_never().is_none());
        }
        assert!(turns.take("a").now_or_never().unwrap().is_none(), "the line has an end");
        let other = turns.take("b").now_or_never().unwrap().unwrap();
        // Whoever came first is next; whoever gives up makes room.
        taken.pop();
        assert!(waiting[1].as_mut().now_or_never().is_none());
        let next = waiting.remove(0).now_or_never().unwrap().unwrap();
        waiting.pop();
        let mut late = Box::pin(turns.take("a"));
        assert!(late.as_mut().now_or_never().is_none());
        // Not for ever.
        assert!(late.await.is_none());
        assert!(waiting.remove(0).await.is_none());
        drop((taken, next, waiting, other));
        assert!(turns.under_way.lock().is_empty());
    }
}
