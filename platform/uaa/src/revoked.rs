//! Which access tokens do not count any more: all revocations in memory, as every verifier of the stack keeps them.
//!
//! Ours are in at once; those of other nodes of the same UAA when the database is looked at, once a second
//! ([`Revoked::follow`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use weir_db::DbError;

use crate::store::{Revocation, Store, What};

/// How often the database is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The revocations that matter now. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Revoked {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    longest_access: i64,
    known: RwLock<HashMap<What, Times>>,
    last: watch::Sender<i64>,
    /// The latest second in which this node has issued a token.
    issued: AtomicI64,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    before: i64,
    until: i64,
}

/// The claims that revocations look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'s> {
    pub(crate) jti: &'s str,
    pub(crate) user_id: Option<&'s str>,
    pub(crate) client_id: &'s str,
    pub(crate) issued_at: i64,
}

impl Revoked {
    /// Reads what is there.
    pub(crate) async fn open(store: Store, longest_access: Duration) -> Result<Self, DbError> {
        let revoked = Self {
            shared: Arc::new(Shared {
                store,
                longest_access: i64::try_from(longest_access.as_secs()).unwrap_or(i64::MAX),
                known: RwLock::default(),
                last: watch::Sender::new(0),
                issued: AtomicI64::new(0),
            }),
        };
        revoked.read().await?;
        Ok(revoked)
    }

    /// Looks at the database for ever.
    pub(crate) async fn follow(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = self.read().await {
                tracing::warn!(error = %weir_error::chain(&error), "revocations cannot be read");
            }
        }
    }

    /// Takes in what is new.
    async fn read(&self) -> Result<(), DbError> {
        loop {
            let since = *self.shared.last.borrow();
            let (page, more) = self.shared.store.revocations(since).await?;
            let Some(last) = page.last().map(|revocation| revocation.seq) else {
                break;
            };
            self.take(page);
            // Never back: two readers may have met.
            self.shared.last.send_if_modified(|known| {
                let news = last > *known;
                *known = last.max(*known);
                news
            });
            if !more {
                break;
            }
        }
        let now = self.shared.store.now() / 1000;
        self.shared.known.write().retain(|_, times| times.until > now);
        Ok(())
    }

    fn take(&self, page: Vec<Revocation>) {
        let mut known = self.shared.known.write();
        for Revocation {
            what, before, until, ..
        } in page
        {
            let times = known.entry(what).or_insert(Times { before, until });
            times.before = times.before.max(before);
            times.until = times.until.max(until);
        }
    }

    /// Revokes everything that was issued until now. Counts here when this returns.
    pub(crate) async fn revoke(&self, what: What) -> Result<(), DbError> {
        // Should the clock have gone back, what was issued before it did is meant too.
        let issued = self.shared.issued.load(Ordering::Relaxed);
        let before = (self.shared.store.now() / 1000).max(issued);
        // What is issued in the last moment of this second is good for that long; a second more for clocks.
        let until = before + self.shared.longest_access + 2;
        self.shared.store.add_revocation(&what, before, until).await?;
        self.read().await
    }

    /// Revokes one token that ends at `expires_at`.
    pub(crate) async fn revoke_token(&self, jti: &str, expires_at: i64) -> Result<(), DbError> {
        let now = self.shared.store.now() / 1000;
        let what = What::Token(jti.to_owned());
        self.shared.store.add_revocation(&what, now, expires_at + 60).await?;
        self.read().await
    }

    /// Whether a token is revoked.
    pub(crate) fn covers(&self, subject: Subject<'_>) -> bool {
        let known = self.shared.known.read();
        if known.is_empty() {
            return false;
        }
        known.contains_key(&What::Token(subject.jti.to_owned()))
            || floor(&known, subject.user_id, subject.client_id).is_some_and(|floor| subject.issued_at <= floor)
    }

    /// The second in which the last revocation was made that would hit a token for this user and client: a token issued
    /// within it would not count.
    pub(crate) fn floor(&self, user_id: Option<&str>, client_id: &str) -> Option<i64> {
        floor(&self.shared.known.read(), user_id, client_id)
    }

    /// Notes that a token was issued in this second.
    pub(crate) fn issued(&self, second: i64) {
        self.shared.issued.fetch_max(second, Ordering::Relaxed);
    }

    /// Told whenever there are new revocations: the number of the last one.
    pub(crate) fn watch(&self) -> watch::Receiver<i64> {
        self.shared.last.subscribe()
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.shared.known.read().len()
    }
}

fn floor(known: &HashMap<What, Times>, user_id: Option<&str>, client_id: &str) -> Option<i64> {
    let of = |what: What| known.get(&what).map(|times| times.before);
    let client = of(What::Client(client_id.to_owned()));
    let user = user_id.and_then(|user| {
        let both = of(What::UserOfClient(user.to_owned(), client_id.to_owned()));
        both.max(of(What::User(user.to_owned())))
    });
    client.max(user)
}
