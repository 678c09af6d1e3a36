//! What a UAA keeps: the one place that speaks SQL, on SQLite, PostgreSQL or MySQL; several UAAs may share a database.
//!
//! - [`Store`] has the tables: users, groups, clients, codes, refresh tokens, sessions, revocations, sealed keys.
//!   `schema` draws them, `sweep` says how their rows end, `standing` in which order they are locked.
//! - [`secrets`] makes what is random, and seals and signs with the master key; [`private_file`] keeps what nobody else may
//!   read.
//! - [`scopes`] are what groups give and clients may ask for.
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
pub mod private_file;
mod refresh;
mod revocations;
mod schema;
pub mod scopes;
pub mod secrets;
mod sessions;
mod settings;
mod standing;
mod sweep;
#[cfg(test)]
mod tests;
mod users;

pub use approvals::Approval;
pub use clients::{AutoApprove, Client, ClientDetail, EMPTY_SECRET, NO_SECRET};
pub use codes::{Code, Redeemed};
pub use failures::{Failures, LockoutConfig};
pub use groups::{Group, Member, MemberKind, Membership, group_key};
pub use keys::StoredKey;
pub use refresh::{RefreshToken, Renewed};
pub use revocations::{IssuedTo, LEEWAY, LONGEST_VALIDITY, Revocation, What};
pub use sessions::Session;
pub use settings::FirstStartState;
pub use users::{Email, User};

/// The tables. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Store {
    db: Database,
    clock: Clock,
    /// The latest second in which this node has issued a token.
    issued: Arc<AtomicI64>,
}

impl Store {
    /// Opens the database and brings its tables up to date.
    pub async fn open(url: &DatabaseUrl, clock: Clock) -> Result<Self, DbError> {
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
    pub fn now(&self) -> i64 {
        self.clock.now_nanos() / 1_000_000
    }

    /// Which language the server speaks.
    pub const fn dialect(&self) -> Dialect {
        self.db.dialect()
    }

    /// Closes the connections.
    pub async fn close(&self) {
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
