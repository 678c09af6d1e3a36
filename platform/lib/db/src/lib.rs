//! One database layer for SQLite (the default), PostgreSQL and MySQL or MariaDB.
//!
//! A component writes its SQL once, with `?` for values, and opens a [`Database`] by its URL:
//!
//! ```text
//! sqlite:///var/lib/weir/uaa.db        one machine; the file and its folder are made when absent
//! postgres://user:password@host/name   several machines; `?sslmode=verify-full&sslrootcert=FILE` checks the server
//! mysql://user:password@host/name      several machines; `?ssl-mode=VERIFY_IDENTITY&ssl-ca=FILE` likewise
//! ```
//!
//! - [`sql`] makes a [`Statement`]; values are bound, never written into the text. [`Row`] reads columns by name.
//! - Everything that runs statements is an [`Executor`]: the database itself, or a [`Transaction`].
//! - [`Migration`]s bring the tables up to date, once, whichever of several processes comes first. Column types are
//!   written `{name}` ([`Dialect::expand`]), so that one text makes the same table everywhere.
//! - What the three servers do not share is in [`Dialect`].
//!
//! Text compares and sorts by its bytes on all three: keys that ignore case are columns of their own, written in lower
//! case by the component. Integers are 64 bits, times are milliseconds since 1970.
//!
//! SQLite has one writer: writes go through one connection and wait for each other, reads have their own and never wait
//! (write-ahead log). What was committed survives the process and the machine. The pools are bounded; who waits for a
//! connection longer than 10 s gets [`DbError::Busy`].

mod database;
mod dialect;
mod error;
mod migrate;
mod retry;
mod row;
#[cfg(feature = "test-servers")]
pub mod servers;
mod statement;
mod transaction;
mod url;

pub use database::{Database, Executor};
pub use dialect::Dialect;
pub use error::DbError;
pub use migrate::Migration;
pub use retry::{Conflict, retrying};
pub use row::{Column, Row};
pub use statement::{Statement, Value, sql};
pub use transaction::Transaction;
pub use url::DatabaseUrl;
