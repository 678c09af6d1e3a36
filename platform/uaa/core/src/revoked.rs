//! Which access tokens do not count any more: all revocations in memory, as every verifier of the stack keeps them.
//!
//! They are written by the changes that they belong to (`endings.rs` of the store); ours are in when [`Revoked::catch_up`] returns,
//! those of other nodes of the same UAA when the database is looked at, once a second ([`Revoked::follow`]), or when
//! something is met that is younger ([`Revoked::catch_up_to`]).
//!
//! Limits: so many are remembered one by one (`MOST`). Should there be more, everything issued up to then is revoked, as
//! verifiers do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use weir_db::DbError;
use weir_platform_uaa_store::{Revocation, Store, What};

/// How often the database is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Most revocations that are kept in memory.
const MOST: usize = 500_000;

/// The revocations that matter now. Clones share them.
#[derive(Debug, Clone)]
pub struct Revoked {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    known: RwLock<Known>,
    last: watch::Sender<i64>,
}

#[derive(Debug, Default)]
struct Known {
    by_subject: HashMap<What, Times>,
    /// Everything issued in this second or earlier is revoked.
    floor: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    before: i64,
    until: i64,
}

/// The claims that revocations look at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// The name of the token.
    pub jti: &'s str,
    /// The id of the user; `None` in a client's own token.
    pub user_id: Option<&'s str>,
    /// The client that the token was issued to.
    pub client_id: &'s str,
    /// When the token was issued (seconds since 1970).
    pub issued_at: i64,
}

impl Revoked {
    /// Reads all revocations that are in the database.
    pub async fn open(store: Store) -> Result<Self, DbError> {
        let revoked = Self {
            shared: Arc::new(Shared {
                store,
                known: RwLock::default(),
                last: watch::Sender::new(0),
            }),
        };
        revoked.read().await?;
        Ok(revoked)
    }

    /// Looks at the database for ever.
    pub async fn follow(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = self.read().await {
                tracing::warn!(error = %weir_error::chain(&error), "revocations cannot be read");
            }
        }
    }

    /// Takes in what is new.
    async fn read(&self) -> Result<(), DbError> {
        // The number first: what it counts can be seen by then. Rows of that number may be over and gone.
        let counted = self.shared.store.last_revocation().await?;
        loop {
            let since = *self.shared.last.borrow();
            let (page, more) = self.shared.store.revocations(since).await?;
            let Some(last) = page.last().map(|revocation| revocation.seq) else {
                break;
            };
            self.take(page);
            self.reached(last);
            if !more {
                break;
            }
        }
        self.reached(counted);
        let now = self.shared.store.now() / 1000;
        self.shared
            .known
            .write()
            .by_subject
            .retain(|_, times| times.until > now);
        Ok(())
    }

    /// Never back: two readers may have met.
    fn reached(&self, number: i64) {
        self.shared.last.send_if_modified(|known| {
            let news = number > *known;
            *known = number.max(*known);
            news
        });
    }

    fn take(&self, page: Vec<Revocation>) {
        let latest = self.shared.store.latest_second();
        self.shared.known.write().take(page, MOST, latest);
    }

    /// Takes in what this node has just written. It is written: should it not be readable now, it is a second later.
    pub async fn catch_up(&self) {
        if let Err(error) = self.read().await {
            weir_service::limited!(
                warn,
                weir_service::EACH_SECOND,
                error = %weir_error::chain(&error),
                "revocations cannot be read"
            );
        }
    }

    /// Takes in all revocations up to this number at least.
    pub async fn catch_up_to(&self, number: i64) -> Result<(), DbError> {
        if self.number() < number {
            self.read().await?;
        }
        Ok(())
    }

    /// The number of the last revocation that is in memory.
    pub fn number(&self) -> i64 {
        *self.shared.last.borrow()
    }

    /// Whether a token is revoked.
    pub fn covers(&self, subject: Subject<'_>) -> bool {
        let known = self.shared.known.read();
        known.by_subject.contains_key(&What::Token(subject.jti.to_owned()))
            || known
                .floor(subject.user_id, subject.client_id)
                .is_some_and(|floor| subject.issued_at <= floor)
    }

    /// Whether the token of this `jti` was revoked by itself.
    pub fn has_token(&self, jti: &str) -> bool {
        let known = self.shared.known.read();
        known.by_subject.contains_key(&What::Token(jti.to_owned()))
    }

    /// The second in which the last revocation was made that would hit a token for this user and client: a token issued
    /// within it would not count.
    pub fn floor(&self, user_id: Option<&str>, client_id: &str) -> Option<i64> {
        self.shared.known.read().floor(user_id, client_id)
    }

    /// Told whenever there are new revocations: the number of the last one.
    pub fn watch(&self) -> watch::Receiver<i64> {
        self.shared.last.subscribe()
    }

    /// How many revocations are kept.
    pub fn count(&self) -> usize {
        self.shared.known.read().by_subject.len()
    }
}

impl Known {
    /// Takes revocations in, and no more than `most`: all that was issued until `latest` goes before one is forgotten.
    fn take(&mut self, page: Vec<Revocation>, most: usize, latest: i64) {
        for Revocation {
            what, before, until, ..
        } in page
        {
            if self.by_subject.len() >= most && !self.by_subject.contains_key(&what) {
                tracing::error!(
                    most,
                    "there are more revocations than can be remembered: everybody has to log in again"
                );
                self.by_subject.clear();
                self.floor = self.floor.max(Some(latest));
            }
            let times = self.by_subject.entry(what).or_insert(Times { before, until });
            times.before = times.before.max(before);
            times.until = times.until.max(until);
        }
    }

    fn floor(&self, user_id: Option<&str>, client_id: &str) -> Option<i64> {
        if self.by_subject.is_empty() {
            return self.floor;
        }
        let of = |what: What| self.by_subject.get(&what).map(|times| times.before);
        let client = of(What::Client(client_id.to_owned()));
        let user = user_id.and_then(|user| {
            let both = of(What::UserOfClient(user.to_owned(), client_id.to_owned()));
            both.max(of(What::User(user.to_owned())))
        });
        client.max(user).max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(seq: i64, user: &str, before: i64) -> Revocation {
        Revocation {
            seq,
            what: What::User(user.to_owned()),
            before,
            until: before + 100,
        }
    }

    /// Memory has an end, and nothing is forgotten for it: what was issued before is all revoked, what is issued later not.
    #[test]
    fn overflow_closes_rather_than_opens() {
        let mut known = Known::default();
        known.take(vec![revocation(1, "a", 10), revocation(2, "b", 11)], 2, 20);
        assert_eq!(known.floor(Some("c"), "cf"), None);
        // The same again is no more.
        known.take(vec![revocation(3, "a", 12)], 2, 20);
        assert_eq!((known.floor(Some("a"), "cf"), known.by_subject.len()), (Some(12), 2));
        known.take(vec![revocation(4, "c", 25)], 2, 20);
        assert_eq!(known.by_subject.len(), 1);
        assert_eq!(known.floor(Some("a"), "cf"), Some(20));
        assert_eq!(known.floor(None, "cf"), Some(20));
        assert_eq!(known.floor(Some("c"), "cf"), Some(25));
    }
}
