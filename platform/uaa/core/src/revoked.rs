//! Keeps all revocations of access tokens in memory, as every verifier of the stack does.
//!
//! Revocations are written to the database by the changes that cause them (`endings.rs` of the store). Those of this node are
//! in memory when [`Revoked::catch_up`] returns. Those of other nodes are read once a second ([`Revoked::follow`]), or when a
//! row is met that knows a later revocation ([`Revoked::catch_up_to`]).
//!
//! Limits: `MAX_KEPT` revocations are kept. If there are more, all tokens issued until then are revoked, as verifiers do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use weir_db::DbError;
use weir_platform_uaa_store::{Revocation, Store, TokenSet};

/// The time between two reads of the database.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The number of revocations that are kept in memory.
const MAX_KEPT: usize = 500_000;

/// The revocations that are in force. Clones share them.
#[derive(Debug, Clone)]
pub struct Revoked {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    known: RwLock<Known>,
    /// The number of the last revocation in memory.
    last: watch::Sender<i64>,
}

#[derive(Debug, Default)]
struct Known {
    by_subject: HashMap<TokenSet, Times>,
    /// All tokens issued in this second or earlier are revoked.
    floor: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    /// Tokens issued in this second or earlier are revoked.
    before: i64,
    /// The second after which such tokens have ended anyway.
    until: i64,
}

/// The claims of a token that decide whether it is revoked.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// The id of the token.
    pub jti: &'s str,
    /// The id of the user; `None` in a client's own token.
    pub user_id: Option<&'s str>,
    /// The client that the token was issued to.
    pub client_id: &'s str,
    /// The time when the token was issued, in seconds since 1970.
    pub issued_at: i64,
}

impl Revoked {
    /// Reads all revocations from the database.
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

    /// Reads new revocations from the database every second, until the task is dropped.
    pub async fn follow(self) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            if let Err(error) = self.read().await {
                tracing::warn!(error = %weir_error::chain(&error), "revocations cannot be read");
            }
        }
    }

    /// Reads the revocations since the last read.
    async fn read(&self) -> Result<(), DbError> {
        // The number is read before the rows: all rows up to it are visible by then. The row with this very number may have
        // been swept already, so the rows alone would not tell how far this node has read.
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
        // Entries whose tokens have all expired are dropped, so that the memory is bounded.
        let now = self.shared.store.now() / 1000;
        self.shared
            .known
            .write()
            .by_subject
            .retain(|_, times| times.until > now);
        Ok(())
    }

    /// Raises the number of the last revocation. It never falls: two reads may end in either order.
    fn reached(&self, number: i64) {
        self.shared.last.send_if_modified(|known| {
            let is_new = number > *known;
            *known = number.max(*known);
            is_new
        });
    }

    fn take(&self, page: Vec<Revocation>) {
        let latest = self.shared.store.latest_second();
        self.shared.known.write().take(page, MAX_KEPT, latest);
    }

    /// Reads the revocations that this node has just written. A failure is only logged, because the next poll reads them.
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

    /// Reads revocations until the one with this number is in memory.
    pub async fn catch_up_to(&self, number: i64) -> Result<(), DbError> {
        if self.number() < number {
            self.read().await?;
        }
        Ok(())
    }

    /// Returns the number of the last revocation that is in memory.
    pub fn number(&self) -> i64 {
        *self.shared.last.borrow()
    }

    /// Whether a token is revoked.
    pub fn covers(&self, subject: Subject<'_>) -> bool {
        let known = self.shared.known.read();
        known.by_subject.contains_key(&TokenSet::Token(subject.jti.to_owned()))
            || known
                .floor(subject.user_id, subject.client_id)
                .is_some_and(|floor| subject.issued_at <= floor)
    }

    /// Whether the token with this `jti` was revoked individually.
    pub fn has_token(&self, jti: &str) -> bool {
        let known = self.shared.known.read();
        known.by_subject.contains_key(&TokenSet::Token(jti.to_owned()))
    }

    /// Returns the last second that a revocation for this user and client covers. A token issued in it would be revoked.
    pub fn floor(&self, user_id: Option<&str>, client_id: &str) -> Option<i64> {
        self.shared.known.read().floor(user_id, client_id)
    }

    /// Returns a receiver of the number of the last revocation.
    pub fn watch(&self) -> watch::Receiver<i64> {
        self.shared.last.subscribe()
    }

    /// Returns the number of revocations that are kept.
    pub fn count(&self) -> usize {
        self.shared.known.read().by_subject.len()
    }
}

impl Known {
    /// Adds revocations. If there would be more than `most`, all tokens issued until `latest` are revoked instead, so that no
    /// revocation is forgotten.
    fn take(&mut self, page: Vec<Revocation>, most: usize, latest: i64) {
        for Revocation {
            tokens, before, until, ..
        } in page
        {
            if self.by_subject.len() >= most && !self.by_subject.contains_key(&tokens) {
                tracing::error!(
                    most,
                    "there are more revocations than can be kept: all users have to log in again"
                );
                self.by_subject.clear();
                self.floor = self.floor.max(Some(latest));
            }
            let times = self.by_subject.entry(tokens).or_insert(Times { before, until });
            times.before = times.before.max(before);
            times.until = times.until.max(until);
        }
    }

    fn floor(&self, user_id: Option<&str>, client_id: &str) -> Option<i64> {
        if self.by_subject.is_empty() {
            return self.floor;
        }
        let of = |tokens: TokenSet| self.by_subject.get(&tokens).map(|times| times.before);
        let client = of(TokenSet::Client(client_id.to_owned()));
        let user = user_id.and_then(|user| {
            let both = of(TokenSet::UserOfClient(user.to_owned(), client_id.to_owned()));
            both.max(of(TokenSet::User(user.to_owned())))
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
            tokens: TokenSet::User(user.to_owned()),
            before,
            until: before + 100,
        }
    }

    /// Too many revocations revoke all tokens issued before, and none issued later.
    #[test]
    fn overflow_closes_rather_than_opens() {
        let mut known = Known::default();
        known.take(vec![revocation(1, "a", 10), revocation(2, "b", 11)], 2, 20);
        assert_eq!(known.floor(Some("c"), "cf"), None);
        // A second revocation of one subject needs no further place.
        known.take(vec![revocation(3, "a", 12)], 2, 20);
        assert_eq!((known.floor(Some("a"), "cf"), known.by_subject.len()), (Some(12), 2));
        known.take(vec![revocation(4, "c", 25)], 2, 20);
        assert_eq!(known.by_subject.len(), 1);
        assert_eq!(known.floor(Some("a"), "cf"), Some(20));
        assert_eq!(known.floor(None, "cf"), Some(20));
        assert_eq!(known.floor(Some("c"), "cf"), Some(25));
    }
}
