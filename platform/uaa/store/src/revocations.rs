//! Revocations of access tokens. They are written in the order of their numbers: whoever has read up to a number has
//! missed none before it, on whatever node it was made.
//!
//! There is one row for each subject: a later revocation of the same takes its place under a new number, and says no less.
//! Tokens that are ended one by one are counted for whom they were issued to, and beyond so many ([`IssuedTo::most`]) the
//! next ends all of that user with that client: what one user can make everybody remember has an end.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use weir_db::{DbError, Row, Transaction, Value, sql};

use super::{Store, standing};
use crate::secrets;

/// The longest that an access token may be good for, whatever is configured. A revocation is remembered for as long: the token
/// that it ends may be of a node, or of a time, with another configuration.
pub const LONGEST_VALIDITY: i64 = 7 * 24 * 3600;

/// How many a question answers at once, and how many bytes that may be in the feed: verifiers read answers of 4 MiB.
const PAGE: usize = 1000;
const PAGE_BYTES: usize = 1 << 20;

/// Most bytes of an entry of the feed beside its texts, and of each byte of these as JSON (`\u0001`).
const ENTRY_BYTES: usize = 160;
const JSON_BYTES: usize = 6;

/// Most characters of a subject, as of all keys.
const LONGEST: usize = 255;

/// Subjects in one statement.
const CHUNK: usize = 100;

/// How far the clocks of the nodes of one UAA may be apart (seconds): a revocation reaches that far ahead of the clock of
/// the node that makes it, so that it hits what a node ahead has issued before. Together with the second after it, in
/// which tokens are issued anew, it is less than the five seconds that verifiers allow.
pub const LEEWAY: i64 = 2;

/// How long a revocation is kept after its last token is over (seconds): verifiers allow for clocks there too.
const LATE: i64 = 60;

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The number of the revocation: later ones have greater numbers.
    pub seq: i64,
    /// Which tokens are revoked.
    pub what: What,
    /// Tokens issued in this second or earlier are revoked.
    pub before: i64,
    /// From then on no such token is valid anyway (seconds).
    pub until: i64,
}

/// Which tokens are meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// The one with this `jti`.
    Token(String),
    /// All of a user.
    User(String),
    /// All of a user that were issued to one client.
    UserOfClient(String, String),
    /// All that were issued to a client.
    Client(String),
}

/// Whom a token was issued to: a user with a client, or a client for itself.
#[derive(Debug, Clone, Copy)]
pub struct IssuedTo<'t> {
    /// The id of the user; `None` for a client's own token.
    pub user: Option<&'t str>,
    /// The id of the client.
    pub client: &'t str,
}

impl IssuedTo<'_> {
    /// Under what its tokens are counted.
    fn owner(self) -> String {
        secrets::digest_of(&[self.user.unwrap_or_default(), self.client])
    }

    /// How many of its tokens are revoked one by one. Programs that end each token after use are counted by the day.
    const fn most(self) -> i64 {
        if self.user.is_some() { 256 } else { 4096 }
    }

    /// All of its tokens.
    fn whole(self) -> What {
        match self.user {
            Some(user) => What::UserOfClient(user.to_owned(), self.client.to_owned()),
            None => What::Client(self.client.to_owned()),
        }
    }
}

impl What {
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

    /// Most bytes of its entry in the feed.
    fn weight(&self) -> usize {
        let (_, subject, client) = self.columns();
        ENTRY_BYTES + JSON_BYTES * (subject.len() + client.map_or(0, str::len))
    }
}

impl Store {
    /// Notes that a token was issued in this second.
    pub fn issued(&self, second: i64) {
        self.issued.fetch_max(second, Ordering::Relaxed);
    }

    /// The last second in which any node may have issued a token until now. Should the clock have gone back, what this
    /// node issued before it did is meant too.
    pub fn latest_second(&self) -> i64 {
        (self.now() / 1000 + LEEWAY).max(self.issued.load(Ordering::Relaxed))
    }

    /// Revokes everything of these that was issued until now. The transaction must hold them ([`standing`]): what is issued
    /// later rests on what it leaves.
    pub(super) async fn revoke_within(&self, transaction: &mut Transaction, list: &[What]) -> Result<(), DbError> {
        if list.is_empty() {
            return Ok(());
        }
        let mut seq = numbers(transaction, list.len()).await?;
        let before = self.latest_second();
        let until = before.saturating_add(LONGEST_VALIDITY).saturating_add(LATE);
        for chunk in list.chunks(CHUNK) {
            replace(transaction, chunk, None, (before, until), seq).await?;
            seq += count(chunk.len());
        }
        Ok(())
    }

    /// Revokes one token that ends at `expires_at` (seconds); `issued_to` is whom to count it for, if that is known.
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
            if present >= owner.most() {
                let held = match owner.user {
                    Some(user) => standing::hold_user(&mut transaction, user).await?,
                    None => standing::hold_client(&mut transaction, owner.client).await?,
                };
                // Nobody's token is nobody's to show.
                if held {
                    self.revoke_within(&mut transaction, &[owner.whole()]).await?;
                }
                return transaction.commit().await;
            }
        }
        let seq = numbers(&mut transaction, 1).await?;
        let what = [What::Token(jti.to_owned())];
        let times = (self.latest_second(), expires_at.saturating_add(LATE));
        replace(&mut transaction, &what, issued_to.map(IssuedTo::owner), times, seq).await?;
        transaction.commit().await
    }

    /// The next revocations after a number, as many as the feed takes at once, and whether there are more.
    pub async fn revocations(&self, since: i64) -> Result<(Vec<Revocation>, bool), DbError> {
        let query = sql(
            "select seq, kind, subject, client_id, before_s, until_s from uaa_revocations \
             where seq > ? order by seq limit ?",
        );
        let rows = self.db.all(query.bind(since).bind(count(PAGE + 1))).await?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for row in rows.iter().take(PAGE) {
            let what = What::read(row)?;
            bytes += what.weight();
            // One is always taken, so that whoever reads comes on.
            if bytes > PAGE_BYTES && !page.is_empty() {
                break;
            }
            page.push(Revocation {
                seq: row.get("seq")?,
                what,
                before: row.get("before_s")?,
                until: row.get("until_s")?,
            });
        }
        let more = rows.len() > page.len();
        Ok((page, more))
    }

    /// The highest number there was.
    pub async fn last_revocation(&self) -> Result<i64, DbError> {
        let query = sql(format!("select {}", standing::AS_OF));
        let row = self.db.first(query).await?;
        row.as_ref().map_or(Ok(0), standing::as_of)
    }

    pub(super) async fn sweep_revocations(&self) -> Result<u64, DbError> {
        // A minute later: clocks differ.
        let delete = sql("delete from uaa_revocations where until_s < ?").bind(self.now() / 1000 - 60);
        self.db.execute(delete).await
    }
}

/// The first of so many new numbers. The next are given when the transaction is over, and what it wrote can be seen.
async fn numbers(transaction: &mut Transaction, many: usize) -> Result<i64, DbError> {
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

/// Writes revocations over those of the same, with numbers from `seq` on.
async fn replace(
    transaction: &mut Transaction,
    list: &[What],
    owner: Option<String>,
    (before, until): (i64, i64),
    mut seq: i64,
) -> Result<(), DbError> {
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
    let mut present: HashMap<What, (i64, i64)> = HashMap::new();
    for row in transaction.all(query.bind_all(values.clone())).await? {
        let times = (row.get::<i64>("before_s")?, row.get::<i64>("until_s")?);
        let known = present.entry(What::read(&row)?).or_insert(times);
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
