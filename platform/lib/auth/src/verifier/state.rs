//! What is known about the issuer's keys and revocations, for all who check tokens or live on one.

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

/// Requests that may wait for a fetch of keys at a time; more of them are somebody making up names of keys.
const WAITING: usize = 512;

const NANOS: i64 = 1_000_000_000;

/// Shared by the verifier, its two tasks, and every caller that is being served.
pub(crate) struct State {
    keys: RwLock<Keys>,
    revocations: RwLock<Revocations>,
    /// Moves with everything that could make a good token bad.
    epoch: watch::Sender<u64>,
    access: Arc<dyn Access>,
    clock: Clock,
    rules: Rules,
    /// Somebody waits for a key that is not known.
    pub(super) wanted: Notify,
    waiting: Semaphore,
    rounds: watch::Sender<Rounds>,
    /// Whether all revocations were read that were there at the start.
    knows_revocations: watch::Sender<bool>,
    fetch: Mutex<Duration>,
}

/// Fetches of keys, counted.
#[derive(Debug, Clone, Copy, Default)]
struct Rounds {
    begun: u64,
    ended: u64,
    /// Whether the last one succeeded.
    good: bool,
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
            waiting: Semaphore::new(WAITING),
            rounds: watch::Sender::default(),
            knows_revocations: watch::Sender::new(false),
            fetch: Mutex::default(),
        })
    }

    pub(crate) fn access(&self) -> &dyn Access {
        &*self.access
    }

    /// Moves whenever something changed.
    pub(super) fn epoch(&self) -> u64 {
        *self.epoch.borrow()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    pub(super) fn changed(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Seconds since the Unix epoch.
    pub(super) fn now(&self) -> i64 {
        self.clock.now_nanos().div_euclid(NANOS)
    }

    /// Whether this second is over, with the leeway between clocks.
    pub(crate) fn is_over(&self, end: i64) -> bool {
        self.now() >= self.rules.over_at(end)
    }

    /// The claims of a token that `key` signed, if they count now.
    pub(super) fn open(&self, jwt: &Jwt<'_>, key: &Key) -> Result<Claims, Flaw> {
        let claims = self.rules.open(jwt, key, self.now())?;
        if self.is_revoked(&claims) {
            return Err(Flaw::Revoked);
        }
        Ok(claims)
    }

    /// How long until [`State::is_over`] holds.
    pub(crate) fn left_until(&self, end: i64) -> Duration {
        let end = self.rules.over_at(end).saturating_mul(NANOS);
        let left = end.saturating_sub(self.clock.now_nanos());
        Duration::from_nanos(u64::try_from(left).unwrap_or_default())
    }

    pub(super) fn key(&self, id: &str) -> Option<Arc<Key>> {
        self.keys.read().get(id).cloned()
    }

    /// Whether the issuer still has this very key.
    pub(crate) fn has_key(&self, id: &str, key: &Key) -> bool {
        self.keys.read().get(id).is_some_and(|known| **known == *key)
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.read().is_empty()
    }

    pub(super) fn put_keys(&self, keys: Keys) {
        let mut known = self.keys.write();
        if *known == keys {
            return;
        }
        *known = keys;
        drop(known);
        self.changed();
    }

    pub(crate) fn is_revoked(&self, claims: &Claims) -> bool {
        self.revocations.read().cover(claims)
    }

    /// The place in the feed of revocations.
    pub(super) fn since(&self) -> u64 {
        self.revocations.read().since()
    }

    pub(super) fn take_revocations(&self, page: Page) {
        let now = self.now();
        let news = self.revocations.write().take(page, now);
        if news {
            self.changed();
        }
    }

    pub(super) fn knows_revocations(&self) -> bool {
        *self.knows_revocations.borrow()
    }

    pub(super) fn all_revocations_read(&self) {
        self.knows_revocations
            .send_if_modified(|known| !std::mem::replace(known, true));
    }

    /// Waits until it is known what was revoked before the start. `false` at once if too many wait already.
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

    /// Wants the issuer to be asked for its keys, and waits until a fetch that began from now on has ended; whether it
    /// succeeded. `false` at once if too many wait already.
    pub(super) async fn ask_for_keys(&self) -> bool {
        let Ok(_place) = self.waiting.try_acquire() else {
            return false;
        };
        let mut rounds = self.rounds.subscribe();
        let begun = rounds.borrow().begun;
        self.wanted.notify_one();
        let after = rounds.wait_for(|rounds| rounds.ended > begun).await;
        after.is_ok_and(|rounds| rounds.good)
    }

    pub(super) fn fetch_begins(&self) {
        self.rounds.send_modify(|rounds| rounds.begun += 1);
    }

    pub(super) fn fetch_ended(&self, good: bool, took: Duration) {
        *self.fetch.lock() = took;
        self.rounds.send_modify(|rounds| {
            rounds.ended = rounds.begun;
            rounds.good = good;
        });
    }

    /// How many fetches of keys have ended.
    pub(super) fn fetches(&self) -> u64 {
        self.rounds.borrow().ended
    }

    /// Keys, revocations, and the time of the last fetch.
    pub(super) fn sizes(&self) -> (usize, usize, Duration) {
        (
            self.keys.read().len(),
            self.revocations.read().len(),
            *self.fetch.lock(),
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
