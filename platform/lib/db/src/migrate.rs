//! Migrations, which update the tables of a component.
//!
//! Table `weir_migrations(component, version, step, applied_at)` has a row for each statement that was applied. SQLite
//! and PostgreSQL apply all pending versions in one transaction. MySQL ends a transaction at every change of a table,
//! so a process that is killed there leaves a version half applied. The rows tell how far it came, and the next start
//! continues there. Of several processes that start together, one migrates and the others wait.

use crate::{Database, DbError, Dialect, Transaction, sql};

/// One version of a component's tables. A published migration is never changed; the next change is a new migration.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The number of the version, counted from 1.
    pub version: i64,
    /// A description for the log.
    pub name: &'static str,
    /// The statements, with the type names of [`Dialect::expand`].
    pub statements: &'static [&'static str],
}

/// The statement that creates the table of applied statements.
const TABLE: &str = "create table if not exists weir_migrations (\
     component {id} not null, version {integer} not null, step {integer} not null, applied_at {integer} not null, \
     primary key (component, version, step))";

/// The name of the migration lock on MySQL.
const LOCK: &str = "weir_migrations";
/// The number of the migration lock on PostgreSQL.
const LOCK_NUMBER: i64 = 0x7765_6972;

/// How many seconds MySQL waits for the lock.
const LOCK_WAIT: i64 = 60;

impl Database {
    /// Applies the pending migrations of `component`, in order; returns their number.
    ///
    /// # Errors
    /// If a statement fails, and then nothing was changed, except on MySQL; or if the database has a version that is
    /// not in `migrations`.
    pub async fn migrate(&self, component: &str, migrations: &[Migration]) -> Result<usize, DbError> {
        if self.dialect().is_mysql() {
            return self.migrate_mysql(component, migrations).await;
        }
        let mut transaction = self.begin().await?;
        if self.dialect() == Dialect::Postgres {
            // The lock is held until the transaction ends.
            let lock = sql("select pg_advisory_xact_lock(?) is null as locked").bind(LOCK_NUMBER);
            transaction.first(lock).await?;
        }
        let applied = apply(&mut transaction, component, migrations).await?;
        transaction.commit().await?;
        Ok(applied)
    }

    async fn migrate_mysql(&self, component: &str, migrations: &[Migration]) -> Result<usize, DbError> {
        // The lock belongs to a connection, and a transaction keeps one connection. Statements that change tables end
        // the transaction on the server, but not the lock.
        let mut connection = self.begin().await?;
        let lock = sql("select get_lock(?, ?) as locked").bind(LOCK).bind(LOCK_WAIT);
        let locked = match connection.first(lock).await? {
            Some(row) => row.get::<Option<i64>>("locked")?,
            None => None,
        };
        if locked != Some(1) {
            return Err(DbError::Busy);
        }
        let applied = apply(&mut connection, component, migrations).await;
        let release = sql("select release_lock(?) as released").bind(LOCK);
        connection.first(release).await?;
        connection.commit().await?;
        applied
    }
}

async fn apply(on: &mut Transaction, component: &str, migrations: &[Migration]) -> Result<usize, DbError> {
    let dialect = on.dialect();
    on.execute(sql(dialect.expand(TABLE))).await?;
    let done = sql("select version, step from weir_migrations where component = ?").bind(component);
    let mut seen = Vec::new();
    for row in on.all(done).await? {
        seen.push((row.get::<i64>("version")?, row.get::<i64>("step")?));
    }
    let known = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
    let found = seen.iter().map(|(version, _)| *version).max().unwrap_or(0);
    if found > known {
        return Err(DbError::Newer {
            component: component.to_owned(),
            found,
            known,
        });
    }
    let mut applied = 0;
    for migration in migrations {
        let mut changed = false;
        for (step, statement) in (1_i64..).zip(migration.statements) {
            if seen.contains(&(migration.version, step)) {
                continue;
            }
            match on.execute(sql(dialect.expand(statement))).await {
                // An earlier process was killed after the statement and before its row was written.
                Err(DbError::Statement(error)) if dialect.is_mysql() && is_there_already(&error) => {}
                result => drop(result?),
            }
            let note = sql("insert into weir_migrations (component, version, step, applied_at) values (?, ?, ?, ?)");
            on.execute(
                note.bind(component)
                    .bind(migration.version)
                    .bind(step)
                    .bind(now_millis()),
            )
            .await?;
            changed = true;
        }
        if changed {
            tracing::info!(
                component,
                version = migration.version,
                name = migration.name,
                "database migrated"
            );
            applied += 1;
        }
    }
    Ok(applied)
}

/// Whether an error says that a table, column or index exists already.
fn is_there_already(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
        .is_some_and(|error| matches!(error.number(), 1050 | 1060 | 1061))
}

fn now_millis() -> i64 {
    weir_service::clock::now_nanos() / 1_000_000
}
