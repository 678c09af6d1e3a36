//! What the UAA keeps, in a database.
//!
//! Secrets that people choose are Argon2 hashes; secrets that we make (tokens, codes, sessions) are SHA-256 digests:
//! whoever reads the database can show none of them. Times are milliseconds since 1970, but for revocations, whose times
//! are those of tokens: seconds.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use weir_db::{Database, DatabaseUrl, DbError, Dialect, Executor as _, Row, Transaction, sql};
use weir_service::Clock;

mod approvals;
mod clients;
mod codes;
mod endings;
mod failures;
mod groups;
mod keys;
mod refresh;
mod revocations;
mod schema;
mod sessions;
mod settings;
mod standing;
mod sweep;
#[cfg(test)]
mod tests;
mod users;

pub(crate) use approvals::Approval;
pub(crate) use clients::{AutoApprove, Client, ClientDetail, EMPTY_SECRET, NO_SECRET};
pub(crate) use codes::{Code, Redeemed};
pub(crate) use failures::Failures;
pub(crate) use groups::{Group, Member, MemberKind, Membership, group_key};
pub(crate) use keys::StoredKey;
pub(crate) use refresh::{RefreshToken, Renewed};
pub(crate) use revocations::{IssuedTo, LEEWAY, Revocation, What};
pub(crate) use sessions::Session;
pub(crate) use settings::FirstStartState;
pub(crate) use users::{Email, User};

/// The tables. Clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    db: Database,
    clock: Clock,
    /// The latest second in which this node has issued a token.
    issued: Arc<AtomicI64>,
}

impl Store {
    /// Opens the database and brings its tables up to date.
    pub(crate) async fn open(url: &DatabaseUrl, clock: Clock) -> Result<Self, DbError> {
        let db = Database::open(url).await?;
        db.migrate("uaa", schema::MIGRATIONS).await?;
        // Rows that are there to be locked.
        for (name, content) in [("keys", ""), ("seed", ""), ("groups", ""), ("revocations", "0")] {
            let values = vec![name.into(), content.into()];
            (&db).insert_new("uaa_settings", &["name", "content"], values).await?;
        }
        Ok(Self {
            db,
            clock,
            issued: Arc::default(),
        })
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now_nanos() / 1_000_000
    }

    /// Which language the server speaks.
    pub(crate) const fn dialect(&self) -> Dialect {
        self.db.dialect()
    }

    /// Closes the connections.
    pub(crate) async fn close(&self) {
        self.db.close().await;
    }
}

/// Waits until no other transaction holds this row of `uaa_settings`, and holds it until the end of this one.
async fn hold(transaction: &mut Transaction, name: &str) -> Result<(), DbError> {
    let lock = transaction.dialect().for_update();
    let query = sql(format!("select content from uaa_settings where name = ?{lock}"));
    transaction.first(query.bind(name)).await.map(drop)
}

/// A list as it is kept in one column.
fn list_of(row: &Row, column: &str) -> Result<Vec<String>, DbError> {
    Ok(split(&row.get::<String>(column)?))
}

fn split(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The first column of all rows.
fn texts(rows: &[Row], column: &str) -> Result<Vec<String>, DbError> {
    rows.iter().map(|row| row.get(column)).collect()
}
