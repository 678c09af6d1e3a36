//! A bounded cache of verified tokens by their hash. Tokens that are not used are dropped first.

use std::collections::HashMap;

use crate::Caller;

/// The SHA-256 of a token.
type Digest = [u8; 32];

/// A verified token.
#[derive(Debug)]
struct Entry {
    /// The epoch of keys, revocations and rights in which the token was verified.
    epoch: u64,
    caller: Caller,
}

/// A cache of two generations. New tokens and those that are used enter the younger one. When it is full it becomes the
/// older one, and the entries of the former older one, which nobody has used since, are dropped.
#[derive(Debug)]
pub(super) struct Cache {
    younger: HashMap<Digest, Entry>,
    older: HashMap<Digest, Entry>,
    /// The largest number of tokens of one generation.
    half: usize,
    /// The number of sources that the callers of the younger generation may read.
    sources: usize,
    /// The largest number of sources of one generation.
    half_sources: usize,
}

impl Cache {
    /// A cache of at most `capacity` tokens, whose callers name at most `sources` sources in all. A single caller may
    /// name more.
    pub(super) fn new(capacity: usize, sources: usize) -> Self {
        Self {
            younger: HashMap::new(),
            older: HashMap::new(),
            half: (capacity / 2).max(1),
            sources: 0,
            half_sources: (sources / 2).max(1),
        }
    }

    /// The caller of a token, if the token was verified in this epoch.
    pub(super) fn get(&mut self, digest: &[u8], epoch: u64) -> Option<Caller> {
        if let Some(entry) = self.younger.get(digest) {
            // An outdated entry stays: the token is verified again and replaces it.
            return (entry.epoch == epoch).then(|| entry.caller.clone());
        }
        let entry = self.older.remove(digest)?;
        if entry.epoch != epoch {
            return None;
        }
        let caller = entry.caller.clone();
        self.insert(digest, epoch, entry.caller);
        Some(caller)
    }

    /// Remembers the caller of a token that was verified in this epoch.
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
        self.younger.insert(digest, Entry { epoch, caller });
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

    /// The cache never has more entries than its capacity, and keeps those that are used.
    #[test]
    fn used_entries_are_kept_within_the_capacity() {
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

    /// The number of sources is bounded too, and a single caller with many sources is still remembered.
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

    /// A token of an earlier epoch is not found.
    #[test]
    fn an_earlier_epoch_does_not_count() {
        let mut cache = Cache::new(2, 1000);
        cache.insert(&digest(1), 1, Caller::new("one", Scope::Everything));
        assert!(cache.get(&digest(1), 1).is_some());
        assert!(cache.get(&digest(1), 2).is_none());
        // The entry of token 1 is in the older generation now.
        cache.insert(&digest(2), 1, Caller::new("two", Scope::Everything));
        assert!(cache.get(&digest(1), 2).is_none());
    }
}
