//! The known keys and revocations of the issuer, for the checks of tokens and for callers that are being served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};
use weir_jose::{Flaw, Jwt, Key};
use weir_service::Clock;

use crate::access::Access;
use crate::claims::Claims;
use crate::keys::Keys;
use crate::revocation::{Page, Revocations};
use crate::rules::Rules;

/// The largest number of requests that wait for the issuer at a time. A legitimate load has fewer; more come from a
/// client that invents names of keys.
const MAX_WAITING: usize = 512;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The state that is shared by the verifier, its tasks, and every caller that is being served.
pub(crate) struct State {
    keys: RwLock<Keys>,
    revocations: RwLock<Revocations>,
    /// A number that changes with everything that could make a valid token invalid.
    epoch: watch::Sender<u64>,
    access: Arc<dyn Access>,
    clock: Clock,
    rules: Rules,
    /// Notified when a request waits for an unknown key.
    pub(super) wanted: Notify,
    waiting: Semaphore,
    /// The fetches of keys so far.
    fetches: watch::Sender<Fetches>,
    /// Whether all revocations from before the start were read.
    knows_revocations: watch::Sender<bool>,
    /// How long the last fetch of keys took.
    fetch_time: Mutex<Duration>,
}

/// The numbers of fetches of keys.
#[derive(Debug, Clone, Copy, Default)]
struct Fetches {
    begun: u64,
    ended: u64,
    /// Whether the last fetch succeeded.
    succeeded: bool,
}

impl State {
    pub(super) fn new(access: Arc<dyn Access>, clock: Clock, rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            keys: RwLock::default(),
            revocations: RwLock::default(),
            epoch: watch::Sender::new(0),
            access,
            clock,
            rules,
            wanted: Notify::new(),
            waiting: Semaphore::new(MAX_WAITING),
            fetches: watch::Sender::default(),
            knows_revocations: watch::Sender::new(false),
            fetch_time: Mutex::default(),
        })
    }

    pub(crate) fn access(&self) -> &dyn Access {
        &*self.access
    }

    /// The present epoch, which changes with everything that could make a valid token invalid.
    pub(super) fn epoch(&self) -> u64 {
        *self.epoch.borrow()
    }

    /// A receiver that is notified when the epoch changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// Begins a new epoch.
    pub(super) fn changed(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// The present time in seconds since the Unix epoch.
    pub(super) fn now(&self) -> i64 {
        self.clock.now_nanos().div_euclid(NANOS_PER_SECOND)
    }

    /// Whether the second `end` has passed, with the leeway between clocks.
    pub(crate) fn has_passed(&self, end: i64) -> bool {
        self.now() >= self.rules.end_with_leeway(end)
    }

    /// The claims of a token that `key` has signed, if the token is valid now and not revoked.
    pub(super) fn open(&self, jwt: &Jwt<'_>, key: &Key) -> Result<Claims, Flaw> {
        let claims = self.rules.open(jwt, key, self.now())?;
        if self.is_revoked(&claims) {
            return Err(Flaw::Revoked);
        }
        Ok(claims)
    }

    /// How long it takes until [`State::has_passed`] is true for `end`.
    pub(crate) fn left_until(&self, end: i64) -> Duration {
        let end = self.rules.end_with_leeway(end).saturating_mul(NANOS_PER_SECOND);
        let left = end.saturating_sub(self.clock.now_nanos());
        Duration::from_nanos(u64::try_from(left).unwrap_or_default())
    }

    pub(super) fn key(&self, id: &str) -> Option<Arc<Key>> {
        self.keys.read().get(id).cloned()
    }

    /// Whether the issuer still has this key under this name.
    pub(crate) fn has_key(&self, id: &str, key: &Key) -> bool {
        self.keys.read().get(id).is_some_and(|known| **known == *key)
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.read().is_empty()
    }

    /// Replaces the keys. The epoch changes only if the keys differ, so that a fetch of unchanged keys empties no
    /// cache.
    pub(super) fn put_keys(&self, keys: Keys) {
        let mut known = self.keys.write();
        if *known == keys {
            return;
        }
        *known = keys;
        // Released first: callers that are woken by the new epoch read the keys at once.
        drop(known);
        self.changed();
    }

    pub(crate) fn is_revoked(&self, claims: &Claims) -> bool {
        self.revocations.read().cover(claims)
    }

    /// The sequence number up to which the feed of revocations was read.
    pub(super) fn since(&self) -> u64 {
        self.revocations.read().since()
    }

    pub(super) fn take_revocations(&self, page: Page) {
        let now = self.now();
        // A statement of its own, so that the lock is released before callers are woken.
        let is_new = self.revocations.write().take(page, now);
        if is_new {
            self.changed();
        }
    }

    pub(super) fn knows_revocations(&self) -> bool {
        *self.knows_revocations.borrow()
    }

    /// Notes that the revocations from before the start are read.
    pub(super) fn all_revocations_read(&self) {
        self.knows_revocations
            .send_if_modified(|known| !std::mem::replace(known, true));
    }

    /// Waits until the revocations from before the start are read. Returns `false` at once if too many requests wait
    /// already.
    pub(super) async fn revocations_known(&self) -> bool {
        if self.knows_revocations() {
            return true;
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return false;
        };
        self.knows_revocations
            .subscribe()
            .wait_for(|known| *known)
            .await
            .is_ok()
    }

    /// Causes a fetch of keys, and waits until a fetch that begins after this call has ended. Returns whether it
    /// succeeded, or `false` at once if too many requests wait already.
    pub(super) async fn ask_for_keys(&self) -> bool {
        let Ok(_place) = self.waiting.try_acquire() else {
            return false;
        };
        let mut fetches = self.fetches.subscribe();
        // A fetch that is under way may have begun before the key existed, so its end is not enough.
        let begun = fetches.borrow().begun;
        self.wanted.notify_one();
        let after = fetches.wait_for(|fetches| fetches.ended > begun).await;
        after.is_ok_and(|fetches| fetches.succeeded)
    }

    pub(super) fn fetch_begins(&self) {
        self.fetches.send_modify(|fetches| fetches.begun += 1);
    }

    pub(super) fn fetch_ended(&self, succeeded: bool, took: Duration) {
        *self.fetch_time.lock() = took;
        self.fetches.send_modify(|fetches| {
            fetches.ended = fetches.begun;
            fetches.succeeded = succeeded;
        });
    }

    /// The number of fetches of keys that have ended.
    pub(super) fn fetches(&self) -> u64 {
        self.fetches.borrow().ended
    }

    /// The number of keys, the number of revocations, and how long the last fetch of keys took.
    pub(super) fn sizes(&self) -> (usize, usize, Duration) {
        (
            self.keys.read().len(),
            self.revocations.read().len(),
            *self.fetch_time.lock(),
        )
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("State")
            .field("keys", &self.keys.read().len())
            .field("revocations", &self.revocations.read().len())
            .finish_non_exhaustive()
    }
}
