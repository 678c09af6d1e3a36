//! A database layer for SQLite (the default), PostgreSQL, and MySQL or MariaDB.
//!
//! A component writes its SQL once, with `?` for values, and opens a [`Database`] by URL:
//!
//! ```text
//! sqlite:///var/lib/weir/uaa.db        one machine; the file and its folder are created if absent
//! postgres://user:password@host/name   several machines; `?sslmode=verify-full&sslrootcert=FILE` checks the server
//! mysql://user:password@host/name      several machines; `?ssl-mode=VERIFY_IDENTITY&ssl-ca=FILE` checks the server
//! ```
//!
//! - [`sql`] makes a [`Statement`]. Values are bound, and never written into the text. [`Row`] reads columns by name.
//! - An [`Executor`] runs statements: the database itself, or a [`Transaction`].
//! - [`Migration`]s update the tables once, also if several processes start together. Column types are written as
//!   `{name}` ([`Dialect::expand`]), so that one text makes an equal table on every server.
//! - [`Dialect`] has the differences between the servers.
//!
//! Text is compared and sorted by its bytes on every server. For keys that ignore case, a component has a separate
//! column with the text in lower case. Integers have 64 bits, and times are milliseconds since 1970.
//!
//! SQLite has one writer: writes share one connection and wait for each other, and reads have connections of their own
//! and never wait (write-ahead log). A committed transaction survives a crash of the process and of the machine. The
//! pools are bounded, and a statement that waits longer than 10 s for a connection fails with [`DbError::Busy`].

mod database;
mod dialect;
mod error;
mod migrate;
mod retry;
mod row;
#[cfg(feature = "test-servers")]
pub mod servers;
mod sqlite_file;
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
