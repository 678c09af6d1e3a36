//! The database of a UAA, on SQLite, PostgreSQL or MySQL. Only this crate of the UAA contains SQL. Several UAAs may share a
//! database.
//!
//! - [`Store`] reads and writes the tables: users, groups, clients, codes, refresh tokens, sessions, revocations, signing keys.
//!   `schema` defines them, `sweep` removes expired rows, and `locks` has the order in which rows are locked.
//! - [`secrets`] generates random values, and encrypts and signs with the master key; [`private_file`] reads and writes files
//!   with secrets.
//! - [`scopes`] computes which scopes groups give and clients may request.
//!
//! Secrets that people choose are stored as Argon2 hashes. Generated secrets (tokens, codes, sessions) are stored as SHA-256
//! digests. So the content of the database does not let its reader log in. Times are milliseconds since 1970, except for
//! revocations: they are compared with times in tokens, which are seconds.

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
mod locks;
pub mod private_file;
mod refresh;
mod revocations;
mod schema;
pub mod scopes;
pub mod secrets;
mod sessions;
mod settings;
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
pub use revocations::{IssuedTo, LEEWAY, LONGEST_VALIDITY, Revocation, TokenSet};
pub use sessions::Session;
pub use settings::FirstStartState;
pub use users::{Email, User};

/// The tables of a UAA. Clones share the connections.
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
        // These rows are locked in place of things that have no row of their own, such as "all groups".
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

    /// Returns the time in milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.clock.now_nanos() / 1_000_000
    }

    /// Returns the SQL dialect of the server.
    pub const fn dialect(&self) -> Dialect {
        self.db.dialect()
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// Locks a row of `uaa_settings` until the end of the transaction. Waits for other transactions that have locked it.
async fn lock_setting(transaction: &mut Transaction, name: &str) -> Result<(), DbError> {
    let lock = transaction.dialect().for_update();
    let query = sql(format!("select content from uaa_settings where name = ?{lock}"));
    transaction.first(query.bind(name)).await.map(drop)
}

/// Returns a list that is stored in one column, separated by spaces.
fn list_of(row: &Row, column: &str) -> Result<Vec<String>, DbError> {
    Ok(split(&row.get::<String>(column)?))
}

fn split(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Returns the values of a column of all rows.
fn texts(rows: &[Row], column: &str) -> Result<Vec<String>, DbError> {
    rows.iter().map(|row| row.get(column)).collect()
}
