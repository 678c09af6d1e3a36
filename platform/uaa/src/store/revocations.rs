//! Revocations of access tokens. They are written in the order of their numbers: whoever has read up to a number has
//! missed none before it, on whatever node it was made.

use weir_db::{DbError, Row, sql};

use super::Store;

/// How many a question answers at once.
const PAGE: i64 = 1000;

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) seq: i64,
    pub(crate) what: What,
    /// Tokens issued in this second or earlier are revoked.
    pub(crate) before: i64,
    /// From then on no such token is valid anyway (seconds).
    pub(crate) until: i64,
}

/// Which tokens are meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// The one with this `jti`.
    Token(String),
    /// All of a user.
    User(String),
    /// All of a user that were issued to one client.
    UserOfClient(String, String),
    /// All that were issued to a client.
    Client(String),
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
}

impl Store {
    /// Keeps a revocation; its number.
    pub(crate) async fn add_revocation(&self, what: &What, before: i64, until: i64) -> Result<i64, DbError> {
        weir_db::retrying(|| self.add_revocation_once(what, before, until)).await
    }

    async fn add_revocation_once(&self, what: &What, before: i64, until: i64) -> Result<i64, DbError> {
        let mut transaction = self.db.begin().await?;
        // Locks the row until the end: the next number is given when this one can be seen.
        let lock = transaction.dialect().for_update();
        let query = sql(format!(
            "select content from uaa_settings where name = 'revocations'{lock}"
        ));
        let last: String = match transaction.first(query).await? {
            Some(row) => row.get("content")?,
            None => String::new(),
        };
        let seq = last.parse::<i64>().unwrap_or(0) + 1;
        let count = sql("update uaa_settings set content = ? where name = 'revocations'");
        transaction.execute(count.bind(seq.to_string())).await?;
        let (kind, subject, client) = what.columns();
        let insert = sql(
            "insert into uaa_revocations (seq, kind, subject, client_id, before_s, until_s) values (?, ?, ?, ?, ?, ?)",
        );
        let insert = insert
            .bind(seq)
            .bind(kind)
            .bind(subject)
            .bind(client)
            .bind(before)
            .bind(until);
        transaction.execute(insert).await?;
        transaction.commit().await?;
        Ok(seq)
    }

    /// The next revocations after a number, and whether there are more.
    pub(crate) async fn revocations(&self, since: i64) -> Result<(Vec<Revocation>, bool), DbError> {
        let query = sql(
            "select seq, kind, subject, client_id, before_s, until_s from uaa_revocations \
             where seq > ? order by seq limit ?",
        );
        let rows = self.db.all(query.bind(since).bind(PAGE + 1)).await?;
        let most = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let page = rows.iter().take(most).map(|row| {
            Ok(Revocation {
                seq: row.get("seq")?,
                what: What::read(row)?,
                before: row.get("before_s")?,
                until: row.get("until_s")?,
            })
        });
        Ok((page.collect::<Result<_, DbError>>()?, rows.len() > most))
    }

    /// The highest number there was.
    pub(crate) async fn last_revocation(&self) -> Result<i64, DbError> {
        let query = sql("select content from uaa_settings where name = 'revocations'");
        let text: String = match self.db.first(query).await? {
            Some(row) => row.get("content")?,
            None => String::new(),
        };
        Ok(text.parse().unwrap_or(0))
    }

    pub(super) async fn sweep_revocations(&self) -> Result<u64, DbError> {
        // A minute later: clocks differ.
        let delete = sql("delete from uaa_revocations where until_s < ?").bind(self.now() / 1000 - 60);
        self.db.execute(delete).await
    }
}
