//! Rows of a query's answer.

use sqlx::Row as _;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::DbError;

/// A row of an answer, whose columns are read by name.
#[derive(Debug)]
pub struct Row(pub(crate) Kind);

pub(crate) enum Kind {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    MySql(MySqlRow),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The columns may contain secrets.
        formatter.write_str("row")
    }
}

/// A type as which a column can be read: `String`, `i64`, `bool`, `Vec<u8>`, or an `Option` of one of them.
pub trait Column: Sized {
    /// Reads column `name`.
    ///
    /// # Errors
    /// If there is no such column, or it has another type.
    fn read(row: &Row, name: &str) -> Result<Self, DbError>;
}

macro_rules! column {
    ($($type:ty),*) => {$(
        impl Column for $type {
            fn read(row: &Row, name: &str) -> Result<Self, DbError> {
                match &row.0 {
                    Kind::Sqlite(row) => row.try_get(name),
                    Kind::Postgres(row) => row.try_get(name),
                    Kind::MySql(row) => row.try_get(name),
                }
                .map_err(DbError::from)
            }
        }
    )*};
}

column!(Option<String>, Option<i64>, Option<bool>, Option<Vec<u8>>);

macro_rules! never_null {
    ($($type:ty),*) => {$(
        impl Column for $type {
            fn read(row: &Row, name: &str) -> Result<Self, DbError> {
                // SQLite's driver would read null as an empty value.
                Option::<$type>::read(row, name)?.ok_or_else(|| {
                    DbError::Statement(sqlx::Error::ColumnDecode {
                        index: name.to_owned(),
                        source: Box::new(sqlx::error::UnexpectedNullError),
                    })
                })
            }
        }
    )*};
}

never_null!(String, i64, bool, Vec<u8>);

impl Row {
    /// Reads column `name` as type `T`.
    ///
    /// # Errors
    /// If there is no such column, or it has another type.
    pub fn get<T: Column>(&self, name: &str) -> Result<T, DbError> {
        T::read(self, name)
    }
}
