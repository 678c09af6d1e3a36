//! Limits the number of live queries, of all callers together and of each one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::QueryError;

/// Counts the live queries of all callers. Clones share the counts.
#[derive(Debug, Clone)]
pub(crate) struct Followers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    most: usize,
    most_of_one: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// The number of live queries of each caller that has any.
    by_caller: HashMap<Arc<str>, usize>,
}

/// The right to have one live query, which is returned when this is dropped.
#[derive(Debug)]
pub(crate) struct Following {
    shared: Arc<Shared>,
    caller: Arc<str>,
}

impl Followers {
    /// Returns a counter that allows `most` live queries in all, and `most_of_one` of each caller.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        let shared = Shared {
            most,
            most_of_one,
            counts: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Counts one more live query of `caller`.
    ///
    /// # Errors
    /// [`QueryError::TooManyLive`] if the caller has reached its limit, and [`QueryError::Busy`] if all callers
    /// together have.
    pub(crate) fn add(&self, caller: &str) -> Result<Following, QueryError> {
        let Shared { most, most_of_one, .. } = *self.shared;
        let mut counts = self.shared.counts.lock();
        let mine = counts.by_caller.get(caller).copied().unwrap_or(0);
        // The caller's own limit first: its error has a remedy that the caller can apply.
        if mine >= most_of_one {
            return Err(QueryError::TooManyLive { running: mine });
        }
        if counts.all >= most {
            return Err(QueryError::Busy { running: counts.all });
        }
        let caller: Arc<str> = caller.into();
        counts.all += 1;
        counts.by_caller.insert(Arc::clone(&caller), mine + 1);
        Ok(Following {
            shared: Arc::clone(&self.shared),
            caller,
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut counts = self.shared.counts.lock();
        counts.all -= 1;
        match counts.by_caller.get_mut(&self.caller) {
            Some(mine) if *mine > 1 => *mine -= 1,
            _ => drop(counts.by_caller.remove(&self.caller)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One caller cannot use up all places, and a place that is returned can be used again.
    #[test]
    fn each_caller_has_its_share() {
        let followers = Followers::new(3, 2);
        let mut mine: Vec<Following> = (0..2).map(|_| followers.add("a").expect("one more")).collect();
        assert!(matches!(
            followers.add("a"),
            Err(QueryError::TooManyLive { running: 2 })
        ));
        let other = followers.add("b").expect("another's");
        assert!(matches!(followers.add("c"), Err(QueryError::Busy { running: 3 })));
        mine.pop();
        let third = followers.add("c").expect("one is free");
        drop((mine, other, third));
        assert!(followers.shared.counts.lock().by_caller.is_empty());
    }
}
