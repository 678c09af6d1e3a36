//! A quota for each caller, so that one caller cannot use up everything.
//!
//! Servers count what a caller holds, such as streams, selectors and sessions, for as long as it holds them. A request
//! beyond the quota does not wait, but is refused at once. Only callers that hold something are remembered.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Caller;

/// A limit for each caller, and how much each of them holds.
#[derive(Debug)]
pub struct Quota {
    most: usize,
    /// The amount that each caller holds, by [`Caller::id`].
    held: Mutex<HashMap<String, usize>>,
}

impl Quota {
    /// A quota of which no caller holds more than `most`.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: Mutex::default(),
        })
    }

    /// Takes `amount` for `caller`, whichever token it shows. Returns `None` if it would hold too much.
    #[must_use]
    pub fn take(self: &Arc<Self>, caller: &Caller, amount: usize) -> Option<Share> {
        let mut held = self.held.lock();
        let before = held.get(caller.id()).copied().unwrap_or(0);
        let after = before.checked_add(amount).filter(|after| *after <= self.most)?;
        held.insert(caller.id().to_owned(), after);
        // Released before the clone below; the lock is shared by all requests.
        drop(held);
        Some(Share {
            quota: Arc::clone(self),
            caller: caller.clone(),
            amount,
        })
    }
}

/// An amount that a caller holds until this is dropped.
#[derive(Debug)]
pub struct Share {
    quota: Arc<Quota>,
    caller: Caller,
    amount: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.quota.held.lock();
        if let Some(count) = held.get_mut(self.caller.id()) {
            *count -= self.amount;
            if *count == 0 {
                held.remove(self.caller.id());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    /// A caller gets its limit and no more, whatever others hold. An amount that is given back can be taken again, and
    /// a caller that holds nothing is not remembered.
    #[test]
    fn each_caller_has_its_own_quota() {
        let quota = Quota::new(3);
        let (a, b) = (
            Caller::new("a", Scope::Everything),
            Caller::new("b", Scope::sources(["app"])),
        );
        let two = quota.take(&a, 2).unwrap();
        assert!(quota.take(&a, 2).is_none());
        assert!(quota.take(&a, usize::MAX).is_none());
        let one = quota.take(&a, 1).unwrap();
        assert!(quota.take(&a, 1).is_none());
        let all_of_b = quota.take(&b, 3).unwrap();
        drop(two);
        assert!(quota.take(&a, 3).is_none());
        assert!(quota.take(&a, 2).is_some());
        drop((one, all_of_b));
        assert!(quota.held.lock().is_empty());
        // A refused request leaves no entry.
        assert!(quota.take(&a, 4).is_none());
        assert!(quota.held.lock().is_empty());
    }
}
