//! How many attempts to log in as one user may be under way: the queue for hashing is everybody's.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Most attempts under way for one name.
const MOST: u32 = 4;

/// Who is being attempted now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    under_way: Arc<Mutex<HashMap<String, u32>>>,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    principal: String,
}

impl Turns {
    /// A place for an attempt; `None` if there are enough for this name.
    pub(crate) fn take(&self, principal: &str) -> Option<Turn> {
        let mut under_way = self.under_way.lock();
        let count = under_way.entry(principal.to_owned()).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Turn {
            turns: self.clone(),
            principal: principal.to_owned(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.turns.under_way.lock();
        if let Some(count) = under_way.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four at once for one name, any number of names, and nothing stays behind.
    #[test]
    fn four_at_once() {
        let turns = Turns::default();
        let taken: Vec<_> = (0..4).map(|_| turns.take("a").unwrap()).collect();
        assert!(turns.take("a").is_none());
        let other = turns.take("b").unwrap();
        drop(taken);
        assert!(turns.take("a").is_some());
        drop(other);
        assert!(turns.under_way.lock().is_empty());
    }
}
