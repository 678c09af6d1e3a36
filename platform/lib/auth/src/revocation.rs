//! Tokens that do not count any more, although their time is not over: the feed, and what was read of it.
//!
//! UAA serves `GET /weir/v1/revocations?since=<number>` as a [`Page`]. A revocation names a token, or everything that
//! rests on a user, a client, or a digest of their passwords and secrets; it has a sequence number, and a time after
//! which no token that it means can be valid any more, when both sides forget it.
//!
//! Times are whole seconds, as in tokens: what was issued in the second of the revocation is revoked too. An issuer that
//! issues again within that second writes the next one into `iat`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::claims::Claims;

/// Most revocations that are remembered one by one. Should there be more, everything issued up to then is revoked.
const MOST_ENTRIES: usize = 500_000;

/// One answer of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// Those with a sequence number above `since`, in order.
    #[serde(default)]
    pub revocations: Vec<Revocation>,
    /// What to ask with next time: the highest sequence number there is. A smaller one than was asked with means that the
    /// issuer counts anew: whoever reads begins at 0 again.
    pub next: u64,
    /// Whether there are more now, which did not fit.
    #[serde(default)]
    pub more: bool,
}

/// One entry of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What it means.
    #[serde(flatten)]
    pub what: What,
    /// Tokens issued in this second or earlier are revoked (seconds since the Unix epoch).
    pub before: i64,
    /// From then on no such token is valid anyway: the longest validity after `before`.
    pub until: i64,
}

/// What a revocation means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// One token; `before` does not matter.
    Token {
        /// Its claim `jti`.
        jti: String,
    },
    /// All tokens of a user; of those issued to one client, if it is named.
    User {
        /// The claim `user_id`.
        user_id: String,
        /// The claim `client_id`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
    },
    /// All tokens issued to a client, its own and those of its users.
    Client {
        /// The claim `client_id`.
        client_id: String,
    },
    /// All tokens that rest on an old password or secret.
    Signature {
        /// The claim `rev_sig`.
        rev_sig: String,
    },
    /// Something that a newer issuer knows. It cannot be acted upon.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Token(String),
    User(String),
    UserOfClient(String, String),
    Client(String),
    Signature(String),
}

#[derive(Debug, Clone, Copy)]
struct Times {
    before: i64,
    until: i64,
}

/// All revocations that matter now.
#[derive(Debug, Default)]
pub struct Revocations {
    by_subject: HashMap<Subject, Times>,
    /// Everything issued in this second or earlier is revoked.
    floor: Option<i64>,
    /// What to ask the feed with.
    since: u64,
}

impl Revocations {
    /// The sequence number to ask the feed with.
    #[must_use]
    pub const fn since(&self) -> u64 {
        self.since
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_subject.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_subject.is_empty() && self.floor.is_none()
    }

    /// Takes a page in, at second `now`; whether anything is new. If the issuer counts anew, what is known stays, and the
    /// feed is to be read from its start.
    pub fn take(&mut self, page: Page, now: i64) -> bool {
        self.by_subject.retain(|_, times| times.until > now);
        if page.next < self.since {
            self.since = 0;
            return false;
        }
        self.since = page.next;
        let mut news = false;
        for Revocation { what, before, until } in page.revocations {
            if until <= now {
                continue;
            }
            let subject = match what {
                What::Token { jti } => Subject::Token(jti),
                What::User {
                    user_id,
                    client_id: None,
                } => Subject::User(user_id),
                What::User {
                    user_id,
                    client_id: Some(client_id),
                } => Subject::UserOfClient(user_id, client_id),
                What::Client { client_id } => Subject::Client(client_id),
                What::Signature { rev_sig } => Subject::Signature(rev_sig),
                What::Unknown => {
                    tracing::warn!("a revocation is of a kind that is not known here: this program is older than UAA");
                    continue;
                }
            };
            if self.by_subject.len() >= MOST_ENTRIES {
                self.overflow(now);
            }
            let times = self.by_subject.entry(subject).or_insert(Times { before, until });
            times.before = times.before.max(before);
            times.until = times.until.max(until);
            news = true;
        }
        news
    }

    /// Whether a token is revoked.
    #[must_use]
    pub fn cover(&self, claims: &Claims) -> bool {
        if self.floor.is_some_and(|floor| claims.issued_at <= floor) {
            return true;
        }
        if self.by_subject.is_empty() {
            return false;
        }
        let covered = |subject: Subject| {
            let times = self.by_subject.get(&subject);
            times.is_some_and(|times| claims.issued_at <= times.before || matches!(subject, Subject::Token(_)))
        };
        covered(Subject::Token(claims.jti.clone()))
            || covered(Subject::Client(claims.client_id.clone()))
            || claims.user_id.as_ref().is_some_and(|user| {
                covered(Subject::User(user.clone()))
                    || covered(Subject::UserOfClient(user.clone(), claims.client_id.clone()))
            })
            || claims
                .rev_sig
                .as_ref()
                .is_some_and(|signature| covered(Subject::Signature(signature.clone())))
    }

    /// Memory is bounded, and a revocation is not forgotten: all that was issued until now goes.
    fn overflow(&mut self, now: i64) {
        tracing::error!(
            most = MOST_ENTRIES,
            "there are more revocations than can be remembered: everybody has to log in again"
        );
        self.by_subject.clear();
        self.floor = Some(now);
    }
}

#[cfg(test)]
mod tests;
