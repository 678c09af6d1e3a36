//! An open database: its connection pools, and statements without a transaction.

use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Executor as _};
use weir_files::Readers;

use crate::row::Kind;
use crate::sqlite_file;
use crate::transaction::Open;
use crate::{DatabaseUrl, DbError, Dialect, Row, Statement, Transaction, Value};

/// Makes a query of the driver from a statement and its values.
macro_rules! bind {
    ($text:expr, $statement:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($text));
        for value in $statement.values {
            query = match value {
                Value::Text(value) => query.bind(value),
                Value::Integer(value) => query.bind(value),
                Value::Boolean(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
            };
        }
        query
    }};
}
pub(crate) use bind;

/// The time limit of a statement's wait for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);

/// How long SQLite waits while another process writes.
const BUSY: Duration = Duration::from_secs(5);

/// How long an unused connection is kept open.
const IDLE: Duration = Duration::from_secs(300);

/// The number of connections to a server, or of reading connections to a SQLite file.
const CONNECTIONS: u32 = 8;

/// Runs statements, with or without a transaction.
pub trait Executor: Send {
    /// The SQL dialect of the server.
    fn dialect(&self) -> Dialect;

    /// Runs a statement that returns no rows; returns the number of rows that it changed.
    fn execute(&mut self, statement: Statement) -> BoxFuture<'_, Result<u64, DbError>>;

    /// Runs a query; returns all of its rows.
    fn all(&mut self, statement: Statement) -> BoxFuture<'_, Result<Vec<Row>, DbError>>;

    /// Runs a query; returns its first row, if there is one.
    fn first(&mut self, statement: Statement) -> BoxFuture<'_, Result<Option<Row>, DbError>>;

    /// Inserts a row unless one with its key exists; returns whether it was inserted.
    fn insert_new<'e>(
        &'e mut self,
        table: &'e str,
        columns: &'e [&'e str],
        values: Vec<Value>,
    ) -> BoxFuture<'e, Result<bool, DbError>> {
        let insert = crate::sql(self.dialect().insert_new(table, columns)).bind_all(values);
        Box::pin(async move {
            match self.execute(insert).await {
                Err(DbError::Duplicate(_)) if self.dialect().is_mysql() => Ok(false),
                result => Ok(result? > 0),
            }
        })
    }
}

/// An open database. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Database {
    pools: Pools,
    dialect: Dialect,
}

#[derive(Debug, Clone)]
enum Pools {
    /// A pool of one connection for writing, and a pool for reading.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
    MySql(MySqlPool),
}

/// Opens the connection that writes to a SQLite file.
///
/// Processes that open a new file at the same time all switch its journal to a write-ahead log. SQLite refuses that at
/// once instead of waiting, so it is repeated here.
async fn open_writer(options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let give_up = tokio::time::Instant::now() + BUSY;
    loop {
        let pool = bounded(SqlitePoolOptions::new(), 1)
            // The connection stays open as long as the database, so it is never closed for being idle or old.
            .idle_timeout(None)
            .max_lifetime(None);
        match pool.connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && tokio::time::Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
}

/// Whether an error is SQLITE_BUSY or one of its extended codes: another connection holds a lock.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

impl Database {
    /// Opens a database. A SQLite file is created (mode 0600) if it is absent.
    ///
    /// An empty SQLite file is an error, because SQLite would start a new database in it, and the loss of the old one
    /// would not be noticed. A start that is interrupted leaves none: a file is a database from its first moment on.
    ///
    /// # Errors
    /// If the database cannot be reached or the file cannot be used.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, DbError> {
        let failed = |source| DbError::Open {
            url: url.to_string(),
            source,
        };
        match url.dialect() {
            Dialect::Sqlite => {
                let path = url.path().unwrap_or_default();
                if !make_private(&path)? {
                    require_content(&path)?;
                }
                let options = SqliteConnectOptions::new()
                    .filename(&path)
                    .journal_mode(SqliteJournalMode::Wal)
                    // A commit has to survive a crash of the machine.
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(BUSY)
                    .foreign_keys(true)
                    // The file may come from a backup, and its schema must not run functions.
                    .pragma("trusted_schema", "off");
                let writer = open_writer(&options).await.map_err(failed)?;
                let readers = bounded(SqlitePoolOptions::new(), CONNECTIONS)
                    .connect_with(options.read_only(true))
                    .await
                    .map_err(failed)?;
                Ok(Self {
                    pools: Pools::Sqlite { writer, readers },
                    dialect: Dialect::Sqlite,
                })
            }
            Dialect::Postgres => {
                let options: PgConnectOptions = url.reveal().parse().map_err(failed)?;
                let options = options.application_name("weir");
                let pool = bounded(PgPoolOptions::new(), CONNECTIONS)
                    .connect_with(options)
                    .await
                    .map_err(failed)?;
                Ok(Self {
                    pools: Pools::Postgres(pool),
                    dialect: Dialect::Postgres,
                })
            }
            Dialect::MySql | Dialect::MariaDb => {
                let options: MySqlConnectOptions = url.reveal().parse().map_err(failed)?;
                let pool = bounded(MySqlPoolOptions::new(), CONNECTIONS)
                    .after_connect(|connection, _| {
                        Box::pin(async move {
                            // The default of PostgreSQL: a statement sees everything that was committed before it.
                            connection
                                .execute("set session transaction isolation level read committed")
                                .await?;
                            // A value that does not fit into its column is refused, and not cut.
                            connection
                                .execute("set session sql_mode = concat(@@sql_mode, ',STRICT_ALL_TABLES')")
                                .await?;
                            Ok(())
                        })
                    })
                    .connect_with(options)
                    .await
                    .map_err(failed)?;
                let mut opened = Self {
                    pools: Pools::MySql(pool),
                    dialect: Dialect::MySql,
                };
                let version = opened.first(crate::sql("select version() as version")).await?;
                let version: String = version.map_or_else(|| Ok(String::new()), |row| row.get("version"))?;
                // MariaDB uses the protocol and the scheme of MySQL's URLs; only its version tells them apart.
                if version.contains("MariaDB") {
                    opened.dialect = Dialect::MariaDb;
                }
                Ok(opened)
            }
        }
    }

    /// The SQL dialect of the server.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Begins a transaction, which is rolled back unless [`Transaction::commit`] is called. On SQLite, it takes the
    /// write lock at once.
    ///
    /// # Errors
    /// If there is no connection.
    pub async fn begin(&self) -> Result<Transaction, DbError> {
        let open = match &self.pools {
            // The write lock is taken at once. A transaction that reads before it writes could otherwise fail in
            // between.
            Pools::Sqlite { writer, .. } => Open::Sqlite(writer.begin_with("begin immediate").await?),
            Pools::Postgres(pool) => Open::Postgres(pool.begin().await?),
            Pools::MySql(pool) => Open::MySql(pool.begin().await?),
        };
        Ok(Transaction::new(open, self.dialect))
    }

    /// Runs a statement without a transaction; returns the number of rows that it changed.
    ///
    /// # Errors
    /// If the server refuses the statement or cannot be reached.
    pub async fn execute(&self, statement: Statement) -> Result<u64, DbError> {
        statement.check()?;
        let text = self.dialect.placeholders(&statement.text).into_owned();
        Ok(match &self.pools {
            Pools::Sqlite { writer, .. } => bind!(text, statement).execute(writer).await?.rows_affected(),
            Pools::Postgres(pool) => bind!(text, statement).execute(pool).await?.rows_affected(),
            Pools::MySql(pool) => bind!(text, statement).execute(pool).await?.rows_affected(),
        })
    }

    /// Runs a query that only reads; returns all of its rows.
    ///
    /// # Errors
    /// If the server refuses the query or cannot be reached.
    pub async fn all(&self, statement: Statement) -> Result<Vec<Row>, DbError> {
        statement.check()?;
        let text = self.dialect.placeholders(&statement.text).into_owned();
        Ok(match &self.pools {
            Pools::Sqlite { readers, .. } => wrap(bind!(text, statement).fetch_all(readers).await?, Kind::Sqlite),
            Pools::Postgres(pool) => wrap(bind!(text, statement).fetch_all(pool).await?, Kind::Postgres),
            Pools::MySql(pool) => wrap(bind!(text, statement).fetch_all(pool).await?, Kind::MySql),
        })
    }

    /// Runs a query that only reads; returns its first row, if there is one.
    ///
    /// # Errors
    /// If the server refuses the query or cannot be reached.
    pub async fn first(&self, statement: Statement) -> Result<Option<Row>, DbError> {
        statement.check()?;
        let text = self.dialect.placeholders(&statement.text).into_owned();
        let kind = match &self.pools {
            Pools::Sqlite { readers, .. } => bind!(text, statement).fetch_optional(readers).await?.map(Kind::Sqlite),
            Pools::Postgres(pool) => bind!(text, statement).fetch_optional(pool).await?.map(Kind::Postgres),
            Pools::MySql(pool) => bind!(text, statement).fetch_optional(pool).await?.map(Kind::MySql),
        };
        Ok(kind.map(Row))
    }

    /// Closes all connections, when the statements that use them are done.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers } => {
                // The readers first: SQLite merges its write-ahead log into the file when the last connection closes,
                // which only the writer can do.
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
            Pools::MySql(pool) => pool.close().await,
        }
    }
}

impl Executor for &Database {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn execute(&mut self, statement: Statement) -> BoxFuture<'_, Result<u64, DbError>> {
        Box::pin(Database::execute(self, statement))
    }

    fn all(&mut self, statement: Statement) -> BoxFuture<'_, Result<Vec<Row>, DbError>> {
        Box::pin(Database::all(self, statement))
    }

    fn first(&mut self, statement: Statement) -> BoxFuture<'_, Result<Option<Row>, DbError>> {
        Box::pin(Database::first(self, statement))
    }
}

pub(crate) fn wrap<R>(rows: Vec<R>, kind: fn(R) -> Kind) -> Vec<Row> {
    rows.into_iter().map(|row| Row(kind(row))).collect()
}

fn bounded<D: sqlx::Database>(options: PoolOptions<D>, most: u32) -> PoolOptions<D> {
    options
        .max_connections(most)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(IDLE)
}

/// Creates a database without tables and its folder, with access for the owner only; returns whether the file was absent.
fn make_private(path: &Path) -> Result<bool, DbError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DbError::File { path, source }
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        weir_files::make_directory(folder).map_err(failed(folder))?;
    }
    weir_files::create(path, &sqlite_file::without_tables(), Readers::Owner).map_err(failed(path))
}

/// Refuses an empty file.
fn require_content(path: &Path) -> Result<(), DbError> {
    match std::fs::metadata(path).map(|metadata| metadata.len()) {
        Ok(0) => Err(DbError::Empty { path: path.to_owned() }),
        // If the file cannot be read, SQLite reports that.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start that ended between the creation of the file and the first statement does not prevent the next one. The file
    /// is whole, and private.
    #[tokio::test]
    async fn an_interrupted_creation_leaves_a_database() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/weir.db");
        assert!(make_private(&path).unwrap());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let database = Database::open(&DatabaseUrl::sqlite(&path)).await.unwrap();
        let checked = database
            .first(crate::sql("pragma integrity_check"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(checked.get::<String>("integrity_check").unwrap(), "ok");
        let journal = database
            .first(crate::sql("pragma journal_mode"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(journal.get::<String>("journal_mode").unwrap(), "wal");
        database
            .execute(crate::sql("create table things (name text)"))
            .await
            .unwrap();
        database.close().await;
    }

    /// An empty file is refused at once, and stays as it is.
    #[tokio::test]
    async fn an_empty_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weir.db");
        std::fs::write(&path, "").unwrap();
        let refused = Database::open(&DatabaseUrl::sqlite(&path)).await.unwrap_err();
        assert!(matches!(refused, DbError::Empty { .. }), "{refused}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
