//! Revocations: tokens that are not valid any more, although they have not expired. This is the form of UAA's feed, and
//! the set of revocations that were read from it.
//!
//! UAA serves `GET /weir/v1/revocations?since=<number>` as a [`Page`]. A revocation names a token, or all tokens of a
//! user, of a client, or of a digest of their passwords and secrets. It has a sequence number, and a time from which no
//! token that it names can be valid any more. Both sides forget it then.
//!
//! Times are whole seconds, as in tokens, so a token that was issued in the second of the revocation is revoked too. An
//! issuer that issues a new token within that second writes the next second into `iat`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::claims::Claims;

/// The largest number of revocations that are kept. If there are more, every token that was issued up to then is
/// revoked.
const MOST_ENTRIES: usize = 500_000;

/// One answer of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// The revocations with a sequence number above `since`, in order.
    #[serde(default)]
    pub revocations: Vec<Revocation>,
    /// The highest sequence number that exists, which is the next `since`. If it is smaller than the `since` of the
    /// request, the issuer has begun to count again, and the reader has to begin at 0.
    pub next: u64,
    /// Whether there are more revocations, which did not fit into this page.
    #[serde(default)]
    pub more: bool,
}

/// One entry of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The tokens that are revoked.
    #[serde(flatten)]
    pub revoked: Revoked,
    /// The second up to which tokens were issued that are revoked, since the Unix epoch.
    pub before: i64,
    /// The second from which no such token is valid anyway: `before` and the longest validity of a token.
    pub until: i64,
}

/// The tokens that a revocation names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Revoked {
    /// One token. `before` has no meaning here.
    Token {
        /// The claim `jti` of the token.
        jti: String,
    },
    /// All tokens of a user, or those that were issued to one client if it is named.
    User {
        /// The claim `user_id`.
        user_id: String,
        /// The claim `client_id`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
    },
    /// All tokens that were issued to a client: its own, and those of its users.
    Client {
        /// The claim `client_id`.
        client_id: String,
    },
    /// All tokens that rest on a password or secret which has been changed.
    Signature {
        /// The claim `rev_sig`.
        rev_sig: String,
    },
    /// A kind that only a newer issuer knows. It is ignored with a warning.
    #[serde(other)]
    Unknown,
}

/// The tokens of one entry, as a key.
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

/// All revocations that can still concern a token.
#[derive(Debug, Default)]
pub struct Revocations {
    by_subject: HashMap<Subject, Times>,
    /// Every token that was issued in this second or earlier is revoked.
    floor: Option<i64>,
    /// The sequence number up to which the feed was read.
    since: u64,
}

impl Revocations {
    /// The sequence number up to which the feed was read, for the next request.
    #[must_use]
    pub const fn since(&self) -> u64 {
        self.since
    }

    /// The number of revocations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_subject.len()
    }

    /// Whether no token is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_subject.is_empty() && self.floor.is_none()
    }

    /// Adds a page of the feed at the second `now`. Returns whether it has new revocations. If the issuer has begun to
    /// count again, the known revocations stay, and the feed has to be read from its start.
    pub fn take(&mut self, page: Page, now: i64) -> bool {
        // Here, because every page comes here: no timer is needed to forget old entries.
        self.by_subject.retain(|_, times| times.until > now);
        if page.next < self.since {
            self.since = 0;
            return false;
        }
        self.since = page.next;
        let mut changed = false;
        for Revocation { revoked, before, until } in page.revocations {
            if until <= now {
                continue;
            }
            let subject = match revoked {
                Revoked::Token { jti } => Subject::Token(jti),
                Revoked::User {
                    user_id,
                    client_id: None,
                } => Subject::User(user_id),
                Revoked::User {
                    user_id,
                    client_id: Some(client_id),
                } => Subject::UserOfClient(user_id, client_id),
                Revoked::Client { client_id } => Subject::Client(client_id),
                Revoked::Signature { rev_sig } => Subject::Signature(rev_sig),
                Revoked::Unknown => {
                    tracing::warn!("a revocation is of a kind that is not known here: this program is older than UAA");
                    continue;
                }
            };
            if self.by_subject.len() >= MOST_ENTRIES {
                self.overflow(now);
            }
            let times = self.by_subject.entry(subject).or_insert(Times { before, until });
            // An entry that comes later must not make tokens valid again.
            times.before = times.before.max(before);
            times.until = times.until.max(until);
            changed = true;
        }
        changed
    }

    /// Whether a token with these claims is revoked.
    #[must_use]
    pub fn cover(&self, claims: &Claims) -> bool {
        if self.floor.is_some_and(|floor| claims.issued_at <= floor) {
            return true;
        }
        // Usually there are no revocations. The keys for the look-ups below need not be allocated then.
        if self.by_subject.is_empty() {
            return false;
        }
        // A token that is named by its id is revoked whenever it was issued.
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

    /// Replaces all revocations by one of every token that was issued until `now`. Memory is bounded in this way
    /// without accepting a revoked token.
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
