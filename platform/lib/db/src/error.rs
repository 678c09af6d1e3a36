//! The errors of a database, with hints.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// The reason why a database operation failed.
#[derive(Debug, Error)]
pub enum DbError {
    /// The URL is malformed or its scheme is unknown.
    #[error("database URL with scheme `{scheme}` is not usable")]
    Url {
        /// The scheme of the URL. The rest is not shown, because it may contain a password.
        scheme: String,
    },
    /// The file of a SQLite database, or its folder, cannot be created.
    #[error("database file `{}` cannot be created", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file of a SQLite database is empty.
    #[error("database file `{}` is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The server cannot be reached, or refuses the connection.
    #[error("database `{url}` cannot be opened")]
    Open {
        /// The URL without secrets.
        url: String,
        /// The driver's error.
        source: sqlx::Error,
    },
    /// All connections are in use.
    #[error("database has no free connection")]
    Busy,
    /// The connection was lost.
    #[error("database is not reachable")]
    Unavailable(#[source] sqlx::Error),
    /// The disk of the database is full.
    #[error("database has no room left on its disk")]
    Full(#[source] sqlx::Error),
    /// A row with the key exists already.
    #[error("row exists already")]
    Duplicate(#[source] sqlx::Error),
    /// A foreign key is violated: the row refers to one that does not exist, or another row refers to it.
    #[error("row is referred to by another row, or refers to a row that does not exist")]
    Reference(#[source] sqlx::Error),
    /// The transaction conflicted with another one, and may succeed if it is repeated.
    #[error("transaction conflicted with another one")]
    Conflict(#[source] sqlx::Error),
    /// A newer version of this program has migrated the tables.
    #[error("database of `{component}` has version `{found}`, this program knows `{known}`")]
    Newer {
        /// The component that owns the tables.
        component: String,
        /// The version of the tables.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// A value does not fit into its column, or is a text with a NUL, which not every server accepts.
    #[error("value does not fit")]
    Value(#[source] Option<sqlx::Error>),
    /// The statement, its values or its answer are wrong, which is a fault of the component.
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
                if let Some(trouble) = Trouble::of(cause.as_ref()) {
                    return match trouble {
                        Trouble::Full => Self::Full(error),
                        Trouble::Away => Self::Unavailable(error),
                    };
                }
                let code = cause.code();
                match (cause.kind(), code.as_deref()) {
                    (sqlx::error::ErrorKind::UniqueViolation, _) => Self::Duplicate(error),
                    (sqlx::error::ErrorKind::ForeignKeyViolation, _) => Self::Reference(error),
                    // SQLite: a text is longer than its column allows.
                    (sqlx::error::ErrorKind::CheckViolation, _) => Self::Value(Some(error)),
                    // PostgreSQL and MySQL: serialisation failure, deadlock. SQLite: SQLITE_BUSY, SQLITE_BUSY_SNAPSHOT.
                    (_, Some("40001" | "40P01" | "5" | "517")) => Self::Conflict(error),
                    // PostgreSQL and MySQL: the text is too long, or is not valid text.
                    (_, Some("22001" | "22021" | "22P05" | "HY000")) if is_data(cause.as_ref()) => {
                        Self::Value(Some(error))
                    }
                    _ => Self::Statement(error),
                }
            }
            _ => Self::Statement(error),
        }
    }
}

/// A failure of the database itself, independent of the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The disk is full.
    Full,
    /// The database cannot read or write, lacks another resource, is starting, or is shutting down.
    Away,
}

impl Trouble {
    fn of(error: &dyn sqlx::error::DatabaseError) -> Option<Self> {
        if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            return match error.number() {
                // Disk full, table full.
                1021 | 1114 => Some(Self::Full),
                // Error writing a file, with the system's error 28 (ENOSPC).
                3 | 1026 if error.message().contains("28") => Some(Self::Full),
                // Too many connections, out of memory, shutting down.
                3 | 1026 | 1037 | 1038 | 1040 | 1041 | 1053 => Some(Self::Away),
                _ => None,
            };
        }
        let code = error.code()?;
        if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            return Self::of_sqlite(code.parse().ok()?);
        }
        match code.as_ref() {
            "53100" => Some(Self::Full),
            // Insufficient resources, a system error, shutting down or starting.
            "53000" | "53200" | "53300" | "53400" | "58030" | "57P01" | "57P02" | "57P03" => Some(Self::Away),
            _ => None,
        }
    }

    /// Classifies an extended result code of SQLite, whose last byte is the primary code.
    const fn of_sqlite(code: i32) -> Option<Self> {
        match code & 0xff {
            // `SQLITE_FULL`, and `SQLITE_IOERR_SHMSIZE`: the index of the write-ahead log cannot grow.
            13 => Some(Self::Full),
            10 if code == 4874 => Some(Self::Full),
            // `SQLITE_NOMEM`, `SQLITE_IOERR`, `SQLITE_CANTOPEN`, which also concerns the files beside the database.
            7 | 10 | 14 => Some(Self::Away),
            _ => None,
        }
    }
}

/// Whether an error is about the values of a statement.
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
            Self::File { .. } | Self::Open { .. } | Self::Busy | Self::Unavailable(_) | Self::Full(_) => {
                ErrorKind::Unavailable
            }
            Self::Duplicate(_) | Self::Reference(_) | Self::Conflict(_) => ErrorKind::Conflict,
            Self::Statement(_) => ErrorKind::Internal,
        }
    }

    fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Busy | Self::Unavailable(_) | Self::Full(_) | Self::Conflict(_) | Self::Open { .. }
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
            Self::Full(_) => {
                Some("make room on the disk of the database; nothing of what was there is lost".to_owned())
            }
            Self::Newer { .. } => Some("run the newer program, or restore a backup from before it ran".to_owned()),
            _ => None,
        }
    }
}
