//! What can go wrong with a database, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// A database did not do what was asked.
#[derive(Debug, Error)]
pub enum DbError {
    /// The address makes no sense.
    #[error("database URL with scheme `{scheme}` is not usable")]
    Url {
        /// What stands before the colon; the rest may hold a password.
        scheme: String,
    },
    /// The file of a SQLite database or its folder cannot be made.
    #[error("database file `{}` cannot be made", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file of a SQLite database has no content.
    #[error("database file `{}` is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The server cannot be reached, or refuses us.
    #[error("database `{url}` cannot be opened")]
    Open {
        /// Where, without secrets.
        url: String,
        /// Why.
        source: sqlx::Error,
    },
    /// All connections are in use.
    #[error("database has no free connection")]
    Busy,
    /// The connection was lost.
    #[error("database is not reachable")]
    Unavailable(#[source] sqlx::Error),
    /// A row with this key exists already.
    #[error("row exists already")]
    Duplicate(#[source] sqlx::Error),
    /// A row that this one refers to does not exist, or one refers to this one.
    #[error("row is referred to, or refers to none")]
    Reference(#[source] sqlx::Error),
    /// Another transaction was in the way; the same one again may succeed.
    #[error("transaction met another one")]
    Conflict(#[source] sqlx::Error),
    /// A later version of this program has been here.
    #[error("database of `{component}` has version {found}, this program knows {known}")]
    Newer {
        /// Whose tables.
        component: String,
        /// What is there.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// A value does not fit its column, or is a text with a NUL, which not every server takes.
    #[error("value does not fit")]
    Value(#[source] Option<sqlx::Error>),
    /// The statement, its values or an answer are not what they should be: a fault of ours.
    #[error("statement failed")]
    Statement(#[source] sqlx::Error),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(error)
            }
            sqlx::Error::Database(cause) => {
                let code = cause.code();
                match (cause.kind(), code.as_deref()) {
                    (sqlx::error::ErrorKind::UniqueViolation, _) => Self::Duplicate(error),
                    (sqlx::error::ErrorKind::ForeignKeyViolation, _) => Self::Reference(error),
                    // SQLite: a text longer than its column takes.
                    (sqlx::error::ErrorKind::CheckViolation, _) => Self::Value(Some(error)),
                    // PostgreSQL and MySQL: serialisation failure, deadlock; SQLite: busy, and busy with a newer snapshot.
                    (_, Some("40001" | "40P01" | "5" | "517")) => Self::Conflict(error),
                    // PostgreSQL: too long, no text; MySQL: likewise.
                    (_, Some("22001" | "22021" | "22P05" | "HY000")) if is_data(cause.as_ref()) => {
                        Self::Value(Some(error))
                    }
                    // PostgreSQL: it is shutting down or starting.
                    (_, Some("57P01" | "57P02" | "57P03")) => Self::Unavailable(error),
                    _ => Self::Statement(error),
                }
            }
            _ => Self::Statement(error),
        }
    }
}

/// Whether a server's complaint is of the data.
fn is_data(error: &dyn sqlx::error::DatabaseError) -> bool {
    match error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // Data too long, incorrect string value.
        Some(error) => matches!(error.number(), 1406 | 1366),
        None => true,
    }
}

impl Classify for DbError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Url { .. } | Self::Empty { .. } | Self::Newer { .. } | Self::Value(_) => ErrorKind::InvalidInput,
            Self::File { .. } | Self::Open { .. } | Self::Busy | Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Duplicate(_) | Self::Reference(_) | Self::Conflict(_) => ErrorKind::Conflict,
            Self::Statement(_) => ErrorKind::Internal,
        }
    }

    fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Busy | Self::Unavailable(_) | Self::Conflict(_) | Self::Open { .. }
        )
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Url { .. } => Some(
                "write `sqlite:///path/to/file`, `postgres://user:password@host/name` or \
                 `mysql://user:password@host/name`"
                    .to_owned(),
            ),
            Self::File { .. } => Some("check the folder's owner and mode".to_owned()),
            Self::Empty { path } => Some(format!(
                "restore `{}` from a backup, or remove it to begin a new database",
                path.display()
            )),
            Self::Open { url, .. } if url.starts_with("sqlite:") => {
                Some("check the file's owner and mode; if it is damaged, restore it from a backup".to_owned())
            }
            Self::Open { .. } => {
                Some("check that the server runs, that the database exists, and the user's password".to_owned())
            }
            Self::Newer { .. } => Some("run the newer program, or restore a backup from before it ran".to_owned()),
            _ => None,
        }
    }
}
