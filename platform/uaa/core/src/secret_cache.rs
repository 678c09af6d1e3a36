//! A cache of client secrets that were verified a short time ago. The components of the stack send theirs with every request,
//! and each would otherwise take an Argon2 hash, in the queue of all logins.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weir_platform_uaa_store::secrets;
use weir_service::Clock;

/// The time after its last use for which a secret is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The number of secrets that are remembered.
const MOST: usize = 1024;

/// The digests of verified secrets, under a random key of this process: a dump of the memory helps no dictionary attack that
/// was prepared before.
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
    /// Returns an empty cache.
    pub fn new(clock: Clock) -> Self {
        Self {
            key: secrets::random_token::<32>(),
            clock,
            known: Mutex::default(),
        }
    }

    fn digest(&self, hash: &str, secret: &str) -> String {
        // The stored hash is part of the digest. When a secret is changed, its hash changes, and the entry does not match any
        // more.
        secrets::digest_of(&[&self.key, hash, secret])
    }

    /// Whether this secret was verified for this hash within the last 5 minutes. A hit extends the time, so that a component
    /// that sends its secret often never waits for a hash.
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

    /// Remembers a verified secret.
    pub fn remember(&self, hash: &str, secret: &str) {
        let now = self.clock.instant();
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.retain(|_, end| *end > now);
        }
        // All entries are in use. Dropping them costs one hash each; finding the oldest would cost a walk for each insert.
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(self.digest(hash, secret), now + REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A verified secret is known for a limited time and for its hash only, and the number of entries is limited.
    #[test]
    fn remembers_for_a_while() {
        let (hands, clock) = Clock::manual(0);
        let cache = SecretCache::new(clock);
        cache.remember("hash", "secret");
        assert!(cache.knows("hash", "secret"));
        assert!(!cache.knows("hash", "other") && !cache.knows("other", "secret") && !cache.knows("hashs", "ecret"));
        // Each use extends the time.
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
