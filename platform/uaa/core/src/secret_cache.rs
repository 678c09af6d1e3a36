//! Client secrets that were right a moment ago. The components of the stack show theirs with every request; each would
//! cost an Argon2 hash and stand in the queue with those who log in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weir_platform_uaa_store::secrets;
use weir_service::Clock;

/// How long a secret is remembered that nobody shows.
const REMEMBERED: Duration = Duration::from_secs(300);

/// Most secrets that are remembered.
const MOST: usize = 1024;

/// Digests of what was right, under a key that this process made for itself.
pub struct SecretCache {
    key: String,
    clock: Clock,
    known: Mutex<HashMap<String, Instant>>,
}

impl std::fmt::Debug for SecretCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SecretCache")
    }
}

impl SecretCache {
    /// Returns a cache that knows nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            key: secrets::random_token::<32>(),
            clock,
            known: Mutex::default(),
        }
    }

    fn digest(&self, hash: &str, secret: &str) -> String {
        // The hash is the client's own, with its salt: a changed secret is another entry.
        secrets::digest_of(&[&self.key, hash, secret])
    }

    /// Whether this secret was found right for this hash a moment ago. Then it is remembered anew: a component that shows
    /// its own all the time is never asked to wait for a hash, and a secret that was changed has another hash.
    pub fn knows(&self, hash: &str, secret: &str) -> bool {
        let now = self.clock.instant();
        let mut known = self.known.lock();
        match known.get_mut(&self.digest(hash, secret)) {
            Some(end) if *end > now => {
                *end = now + REMEMBERED;
                true
            }
            _ => false,
        }
    }

    /// Remembers a secret that was found right.
    pub fn remember(&self, hash: &str, secret: &str) {
        let now = self.clock.instant();
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.retain(|_, end| *end > now);
        }
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(self.digest(hash, secret), now + REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was right is known for a while, for this hash only; there are never more than so many.
    #[test]
    fn remembers_for_a_while() {
        let (hands, clock) = Clock::manual(0);
        let cache = SecretCache::new(clock);
        cache.remember("hash", "secret");
        assert!(cache.knows("hash", "secret"));
        assert!(!cache.knows("hash", "other") && !cache.knows("other", "secret") && !cache.knows("hashs", "ecret"));
        // As long as it is shown.
        for _ in 0..10 {
            hands.advance(REMEMBERED - Duration::from_secs(1));
            assert!(cache.knows("hash", "secret"));
        }
        hands.advance(REMEMBERED);
        assert!(!cache.knows("hash", "secret"));
        for index in 0..MOST * 2 {
            cache.remember("hash", &index.to_string());
        }
        assert!(cache.known.lock().len() <= MOST);
    }
}
