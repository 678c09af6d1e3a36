//! So much for each caller: what keeps one of them from taking everything there is.
//!
//! Faces count in it what a caller holds for as long as it holds it: streams, selectors, sessions. Nothing waits; who
//! asks for too much is told at once. It remembers only callers that hold something.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Caller;

/// A bound for each caller, and what each of them holds.
#[derive(Debug)]
pub struct Quota {
    most: usize,
    /// By [`Caller::id`].
    held: Mutex<HashMap<String, usize>>,
}

impl Quota {
    /// No caller holds more than `most`.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: Mutex::default(),
        })
    }

    /// Takes `amount` for `caller`, whatever token it shows; `None` if it would hold too much.
    #[must_use]
    pub fn take(self: &Arc<Self>, caller: &Caller, amount: usize) -> Option<Share> {
        let mut held = self.held.lock();
        let before = held.get(caller.id()).copied().unwrap_or(0);
        let after = before.checked_add(amount).filter(|after| *after <= self.most)?;
        held.insert(caller.id().to_owned(), after);
        drop(held);
        Some(Share {
            quota: Arc::clone(self),
            caller: caller.clone(),
            amount,
        })
    }
}

/// What a caller holds, until it is dropped.
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

    /// A caller gets its bound and no more, whatever others hold; what is given back is free again, and forgotten.
    #[test]
    fn each_caller_has_its_own() {
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
        // A refusal leaves no trace.
        assert!(quota.take(&a, 4).is_none());
        assert!(quota.held.lock().is_empty());
    }
}
