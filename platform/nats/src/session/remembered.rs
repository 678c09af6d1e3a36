//! What a connection remembers of its look-ups.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::client::Subscription;
use crate::table::Interest;

/// Subscriptions in the results that a connection keeps; when there are more, it forgets all of them.
pub(super) const MOST_REMEMBERED: usize = 32 << 10;

/// The results of look-ups in one generation of the table.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    generation: u64,
    pub(super) by_subject: HashMap<Box<[u8]>, Arc<Interest<Subscription>>, ahash::RandomState>,
    /// Subscriptions in all results.
    pub(super) size: usize,
    /// The result that was used last, by its subject: a stream of messages to one subject looks nothing up.
    pub(super) last: (Vec<u8>, Arc<Interest<Subscription>>),
}

impl Remembered {
    /// Forgets everything that is of another generation.
    pub(super) fn are_of(&mut self, generation: u64) {
        if self.generation != generation {
            self.forget();
            self.generation = generation;
        }
    }

    fn forget(&mut self) {
        self.by_subject.clear();
        self.size = 0;
        self.last.0.clear();
    }

    /// Keeps a result, unless it is empty: names that nobody listens to could be any number.
    pub(super) fn insert(&mut self, subject: &[u8], interest: &Arc<Interest<Subscription>>) {
        let size = interest.len();
        if size == 0 || size > MOST_REMEMBERED {
            return;
        }
        if self.size + size > MOST_REMEMBERED {
            self.forget();
        }
        self.size += size;
        self.by_subject.insert(subject.into(), Arc::clone(interest));
    }
}
