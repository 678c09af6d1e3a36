//! Revocations of access tokens. They become visible in the order of their numbers, whichever node writes them: a reader that
//! has read up to a number has missed none before it.
//!
//! Each subject has one row. A later revocation of a subject replaces the row under a new number, and covers no fewer tokens.
//! Tokens that are revoked individually are counted for the user and the client that they were issued to. Beyond a limit
//! ([`IssuedTo::limit`]), the next revocation covers all tokens of that user with that client. So one user cannot fill the
//! memory of all verifiers.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use weir_db::{DbError, Row, Transaction, Value, sql};

use super::{Store, locks};
use crate::secrets;

/// The longest life time of an access token in seconds, in any configuration. Revocations are kept for this time, because a
/// token may come from a node, or a time, with another configuration.
pub const LONGEST_VALIDITY: i64 = 7 * 24 * 3600;

/// The number of revocations in one page of the feed.
const PAGE: usize = 1000;
/// The bytes of one page of the feed. Verifiers read answers of at most 4 MiB.
const PAGE_BYTES: usize = 1 << 20;

/// The most bytes of an entry of the feed without its texts.
const ENTRY_BYTES: usize = 160;
/// The most bytes of one byte of a text in JSON, as in `\u0001`.
const JSON_BYTES: usize = 6;

/// The most characters of a subject: the length of the column.
const LONGEST: usize = 255;

/// The number of subjects in one statement.
const CHUNK: usize = 100;

/// The accepted difference between the clocks of the nodes of one UAA, in seconds.
///
/// A revocation covers tokens up to this time ahead of the node's clock, and with them those of a node whose clock is ahead.
/// New tokens are issued in the second after that. The sum of 3 s is below the 5 s that verifiers accept.
pub const LEEWAY: i64 = 2;

/// The seconds for which a revocation is kept after the end of its last token, because the clocks of verifiers differ.
const CLOCK_MARGIN: i64 = 60;

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The number of the revocation. Later ones have greater numbers.
    pub seq: i64,
    /// The tokens that are revoked.
    pub tokens: TokenSet,
    /// Tokens issued in this second or earlier are revoked.
    pub before: i64,
    /// The time after which all these tokens have expired, in seconds since 1970.
    pub until: i64,
}

/// A set of access tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenSet {
    /// The token with this `jti`.
    Token(String),
    /// All tokens of a user.
    User(String),
    /// All tokens of a user with one client: user id, client id.
    UserOfClient(String, String),
    /// All tokens of a client, its own and those of its users.
    Client(String),
}

/// The holder of a token: a user with a client, or a client.
#[derive(Debug, Clone, Copy)]
pub struct IssuedTo<'t> {
    /// The id of the user; `None` for a client's own token.
    pub user: Option<&'t str>,
    /// The id of the client.
    pub client: &'t str,
}

impl IssuedTo<'_> {
    /// Returns the key under which the holder's revoked tokens are counted.
    fn owner(self) -> String {
        secrets::digest_of(&[self.user.unwrap_or_default(), self.client])
    }

    /// Returns the number of the holder's tokens that can be revoked individually. Clients have more, because some programs
    /// revoke each token after its use.
    const fn limit(self) -> i64 {
        if self.user.is_some() { 256 } else { 4096 }
    }

    /// Returns the set of all tokens of the holder.
    fn all_tokens(self) -> TokenSet {
        match self.user {
            Some(user) => TokenSet::UserOfClient(user.to_owned(), self.client.to_owned()),
            None => TokenSet::Client(self.client.to_owned()),
        }
    }
}

impl TokenSet {
    fn columns(&self) -> (&'static str, &str, Option<&str>) {
        match self {
            Self::Token(jti) => ("token", jti, None),
            Self::User(user) => ("user", user, None),
            Self::UserOfClient(user, client) => ("user", user, Some(client)),
            Self::Client(client) => ("client", client, None),
        }
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        let (kind, subject): (String, String) = (row.get("kind")?, row.get("subject")?);
        let client: Option<String> = row.get("client_id")?;
        Ok(match (kind.as_str(), client) {
            ("user", Some(client)) => Self::UserOfClient(subject, client),
            ("user", None) => Self::User(subject),
            ("client", _) => Self::Client(subject),
            _ => Self::Token(subject),
        })
    }

    /// Returns the most bytes that the entry has in the feed.
    fn max_bytes(&self) -> usize {
        let (_, subject, client) = self.columns();
        ENTRY_BYTES + JSON_BYTES * (subject.len() + client.map_or(0, str::len))
    }
}

impl Store {
    /// Records that this node has issued a token in this second.
    pub fn issued(&self, second: i64) {
        self.issued.fetch_max(second, Ordering::Relaxed);
    }

    /// Returns the last second in which any node can have issued a token until now. It covers tokens that this node issued
    /// before its clock was set back.
    pub fn latest_second(&self) -> i64 {
        (self.now() / 1000 + LEEWAY).max(self.issued.load(Ordering::Relaxed))
    }

    /// Revokes all tokens of these sets that were issued until now. The transaction must have locked their users and clients
    /// (module `locks`), so that no token can be issued between the revocation and its commit.
    pub(super) async fn revoke_within(&self, transaction: &mut Transaction, list: &[TokenSet]) -> Result<(), DbError> {
        if list.is_empty() {
            return Ok(());
        }
        let mut seq = reserve_numbers(transaction, list.len()).await?;
        let before = self.latest_second();
        let until = before.saturating_add(LONGEST_VALIDITY).saturating_add(CLOCK_MARGIN);
        for chunk in list.chunks(CHUNK) {
            replace(transaction, chunk, None, (before, until), seq).await?;
            seq += count(chunk.len());
        }
        Ok(())
    }

    /// Revokes one token, which expires at `expires_at` (seconds since 1970), and counts it for its holder if that is known.
    pub async fn revoke_token(
        &self,
        jti: &str,
        expires_at: i64,
        issued_to: Option<IssuedTo<'_>>,
    ) -> Result<(), DbError> {
        weir_db::retrying(|| self.revoke_token_once(jti, expires_at, issued_to)).await
    }

    async fn revoke_token_once(
        &self,
        jti: &str,
        expires_at: i64,
        issued_to: Option<IssuedTo<'_>>,
    ) -> Result<(), DbError> {
        let mut transaction = self.db.begin().await?;
        if let Some(owner) = issued_to {
            let query = sql("select count(*) as n from uaa_revocations where owner = ?").bind(owner.owner());
            let present: i64 = match transaction.first(query).await? {
                Some(row) => row.get("n")?,
                None => 0,
            };
            if present >= owner.limit() {
                let held = match owner.user {
                    Some(user) => locks::lock_user(&mut transaction, user).await?,
                    None => locks::lock_client(&mut transaction, owner.client).await?,
                };
                // Tokens of a removed user or client are revoked already.
                if held {
                    self.revoke_within(&mut transaction, &[owner.all_tokens()]).await?;
                }
                return transaction.commit().await;
            }
        }
        let seq = reserve_numbers(&mut transaction, 1).await?;
        let what = [TokenSet::Token(jti.to_owned())];
        let times = (self.latest_second(), expires_at.saturating_add(CLOCK_MARGIN));
        replace(&mut transaction, &what, issued_to.map(IssuedTo::owner), times, seq).await?;
        transaction.commit().await
    }

    /// Returns the revocations after a number, as many as one page of the feed holds, and whether there are more.
    pub async fn revocations(&self, since: i64) -> Result<(Vec<Revocation>, bool), DbError> {
        let query = sql(
            "select seq, kind, subject, client_id, before_s, until_s from uaa_revocations \
             where seq > ? order by seq limit ?",
        );
        let rows = self.db.all(query.bind(since).bind(count(PAGE + 1))).await?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for row in rows.iter().take(PAGE) {
            let what = TokenSet::read(row)?;
            bytes += what.max_bytes();
            // A page has at least one entry: an empty page would keep its reader at this place for ever.
            if bytes > PAGE_BYTES && !page.is_empty() {
                break;
            }
            page.push(Revocation {
                seq: row.get("seq")?,
                tokens: what,
                before: row.get("before_s")?,
                until: row.get("until_s")?,
            });
        }
        let more = rows.len() > page.len();
        Ok((page, more))
    }

    /// Returns the number of the last revocation.
    pub async fn last_revocation(&self) -> Result<i64, DbError> {
        let query = sql(format!("select {}", locks::AS_OF));
        let row = self.db.first(query).await?;
        row.as_ref().map_or(Ok(0), locks::as_of)
    }

    pub(super) async fn sweep_revocations(&self) -> Result<u64, DbError> {
        // One minute later, because the clocks of the nodes that share the table differ.
        let delete = sql("delete from uaa_revocations where until_s < ?").bind(self.now() / 1000 - 60);
        self.db.execute(delete).await
    }
}

/// Reserves `many` numbers and returns the first. The lock of the row makes other transactions wait for the end of this one:
/// so revocations become visible in the order of their numbers.
async fn reserve_numbers(transaction: &mut Transaction, many: usize) -> Result<i64, DbError> {
    let lock = transaction.dialect().for_update();
    let query = sql(format!(
        "select content from uaa_settings where name = 'revocations'{lock}"
    ));
    let last: String = match transaction.first(query).await? {
        Some(row) => row.get("content")?,
        None => String::new(),
    };
    let last = last.parse::<i64>().unwrap_or(0);
    let note = sql("update uaa_settings set content = ? where name = 'revocations'");
    transaction.execute(note.bind((last + count(many)).to_string())).await?;
    Ok(last + 1)
}

/// Writes revocations with numbers from `seq` on, in place of earlier ones for their subjects.
async fn replace(
    transaction: &mut Transaction,
    list: &[TokenSet],
    owner: Option<String>,
    (before, until): (i64, i64),
    mut seq: i64,
) -> Result<(), DbError> {
    // MySQL would treat two rows with a null `client_id` as different in a unique index, so an upsert cannot do this.
    let (mut conditions, mut values) = (Vec::with_capacity(list.len()), Vec::<Value>::new());
    for what in list {
        let (kind, subject, client) = what.columns();
        if [Some(subject), client]
            .into_iter()
            .flatten()
            .any(|text| text.chars().count() > LONGEST)
        {
            return Err(DbError::Value(None));
        }
        values.extend([kind.into(), subject.into()]);
        match client {
            Some(client) => {
                conditions.push("(kind = ? and subject = ? and client_id = ?)");
                values.push(client.into());
            }
            None => conditions.push("(kind = ? and subject = ? and client_id is null)"),
        }
    }
    let condition = conditions.join(" or ");
    let query = sql(format!(
        "select kind, subject, client_id, before_s, until_s from uaa_revocations where {condition}"
    ));
    let mut present: HashMap<TokenSet, (i64, i64)> = HashMap::new();
    for row in transaction.all(query.bind_all(values.clone())).await? {
        let times = (row.get::<i64>("before_s")?, row.get::<i64>("until_s")?);
        let known = present.entry(TokenSet::read(&row)?).or_insert(times);
        *known = (known.0.max(times.0), known.1.max(times.1));
    }
    if !present.is_empty() {
        let delete = sql(format!("delete from uaa_revocations where {condition}"));
        transaction.execute(delete.bind_all(values)).await?;
    }
    let marks = vec!["(?, ?, ?, ?, ?, ?, ?)"; list.len()].join(", ");
    let mut insert = sql(format!(
        "insert into uaa_revocations (seq, kind, subject, client_id, owner, before_s, until_s) values {marks}"
    ));
    for what in list {
        let (kind, subject, client) = what.columns();
        let known = present.get(what).copied().unwrap_or((before, until));
        insert = insert
            .bind(seq)
            .bind(kind)
            .bind(subject)
            .bind(client)
            .bind(owner.clone())
            .bind(known.0.max(before))
            .bind(known.1.max(until));
        seq += 1;
    }
    transaction.execute(insert).await.map(drop)
}

fn count(many: usize) -> i64 {
    i64::try_from(many).unwrap_or(i64::MAX)
}
