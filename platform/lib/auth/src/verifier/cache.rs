//! Verified tokens by their hash: bounded, the ones not asked for go first.

use std::collections::HashMap;

use crate::Caller;

/// SHA-256 of a token.
type Digest = [u8; 32];

#[derive(Debug)]
struct Known {
    /// What was known about keys and revocations when it was verified.
    epoch: u64,
    caller: Caller,
}

/// Two generations: the younger takes what is new and what was asked for; when it is full it becomes the older one, whose
/// entries nobody asked for since are forgotten.
#[derive(Debug)]
pub(super) struct Cache {
    younger: HashMap<Digest, Known>,
    older: HashMap<Digest, Known>,
    half: usize,
    /// Sources that the callers of the younger generation may read.
    sources: usize,
    half_sources: usize,
}

impl Cache {
    /// Remembers at most `capacity` tokens, whose callers name `sources` sources in all, or one of them more.
    pub(super) fn new(capacity: usize, sources: usize) -> Self {
        Self {
            younger: HashMap::new(),
            older: HashMap::new(),
            half: (capacity / 2).max(1),
            sources: 0,
            half_sources: (sources / 2).max(1),
        }
    }

    /// The caller of this token, if it was verified in this epoch.
    pub(super) fn get(&mut self, digest: &[u8], epoch: u64) -> Option<Caller> {
        if let Some(known) = self.younger.get(digest) {
            return (known.epoch == epoch).then(|| known.caller.clone());
        }
        let known = self.older.remove(digest)?;
        if known.epoch != epoch {
            return None;
        }
        let caller = known.caller.clone();
        self.insert(digest, epoch, known.caller);
        Some(caller)
    }

    pub(super) fn insert(&mut self, digest: &[u8], epoch: u64, caller: Caller) {
        let Ok(digest) = Digest::try_from(digest) else {
            return;
        };
        if let Some(last) = self.younger.remove(&digest) {
            self.sources -= last.caller.scope().len();
        }
        let sources = caller.scope().len();
        if self.younger.len() >= self.half || self.sources.saturating_add(sources) > self.half_sources {
            self.older = std::mem::take(&mut self.younger);
            self.sources = 0;
        }
        self.sources += sources;
        self.younger.insert(digest, Known { epoch, caller });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.younger.len() + self.older.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    fn digest(number: u8) -> Digest {
        [number; 32]
    }

    /// It never grows beyond its bound, and keeps what is asked for.
    #[test]
    fn bounded_and_keeps_what_is_used() {
        let mut cache = Cache::new(10, 1000);
        let caller = Caller::new("one", Scope::Everything);
        cache.insert(&digest(0), 1, caller.clone());
        for number in 1..=200 {
            cache.insert(&digest(number), 1, Caller::new("other", Scope::Everything));
            assert!(cache.len() <= 10);
            assert_eq!(cache.get(&digest(0), 1), Some(caller.clone()), "{number}");
        }
        assert_eq!(cache.get(&digest(1), 1), None);
    }

    /// Callers that may read much take the room of many.
    #[test]
    fn sources_are_bounded() {
        let mut cache = Cache::new(1000, 100);
        let reads = |count: usize| Caller::new("dev", Scope::sources((0..count).map(|number| number.to_string())));
        for number in 0..100 {
            cache.insert(&digest(number), 1, reads(20));
            cache.insert(&digest(number), 1, reads(20));
            assert!(cache.len() <= 5, "{}", cache.len());
        }
        assert_eq!(cache.get(&digest(99), 1), Some(reads(20)));
        cache.insert(&digest(200), 1, reads(1000));
        assert_eq!(cache.get(&digest(200), 1), Some(reads(1000)));
    }

    /// What was verified before something changed does not count.
    #[test]
    fn epochs_pass() {
        let mut cache = Cache::new(2, 1000);
        cache.insert(&digest(1), 1, Caller::new("one", Scope::Everything));
        assert!(cache.get(&digest(1), 1).is_some());
        assert!(cache.get(&digest(1), 2).is_none());
        // The same from the older generation.
        cache.insert(&digest(2), 1, Caller::new("two", Scope::Everything));
        assert!(cache.get(&digest(1), 2).is_none());
    }
}
