//! Brings a component's tables up to date.
//!
//! Table `weir_migrations(component, version, step, applied_at)` says what was done: a row for each statement. SQLite and
//! PostgreSQL apply a version in one transaction. MySQL ends a transaction at every change of a table, so a process that
//! is killed there leaves a version half done; the rows say how far it came, and the next start goes on from there. Of
//! several processes that start together one migrates, the others wait.

use crate::{Database, DbError, Dialect, Transaction, sql};

/// One step in the life of a component's tables. What is published is never changed: the next change is a new one.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number: 1, 2, 3 and so on.
    pub version: i64,
    /// What it does, for people.
    pub name: &'static str,
    /// Its statements, with types as [`Dialect::expand`] knows them.
    pub statements: &'static [&'static str],
}

const TABLE: &str = "create table if not exists weir_migrations (\
     component {id} not null, version {integer} not null, step {integer} not null, applied_at {integer} not null, \
     primary key (component, version, step))";

/// How PostgreSQL and MySQL name the lock of whoever migrates.
const LOCK: &str = "weir_migrations";
const LOCK_NUMBER: i64 = 0x7765_6972;

/// How many seconds MySQL waits for that lock.
const LOCK_WAIT: i64 = 60;

impl Database {
    /// Applies the migrations that `component` has not seen yet, in order; how many that were.
    ///
    /// # Errors
    /// When a statement fails (then nothing of its version happened, but on MySQL), or when the database has a version
    /// that is not in `migrations`.
    pub async fn migrate(&self, component: &str, migrations: &[Migration]) -> Result<usize, DbError> {
        if self.dialect().is_mysql() {
            return self.migrate_mysql(component, migrations).await;
        }
        let mut transaction = self.begin().await?;
        if self.dialect() == Dialect::Postgres {
            // Kept until the transaction ends.
            let lock = sql("select pg_advisory_xact_lock(?) is null as locked").bind(LOCK_NUMBER);
            transaction.first(lock).await?;
        }
        let applied = apply(&mut transaction, component, migrations).await?;
        transaction.commit().await?;
        Ok(applied)
    }

    async fn migrate_mysql(&self, component: &str, migrations: &[Migration]) -> Result<usize, DbError> {
        // The lock belongs to a connection, and a transaction is the way to keep one: what changes tables ends it on the
        // server, which does no harm.
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
                // The process that did it was killed before it could say so.
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

/// Table, column or index exists.
fn is_there_already(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
        .is_some_and(|error| matches!(error.number(), 1050 | 1060 | 1061))
}

fn now_millis() -> i64 {
    weir_service::clock::now_nanos() / 1_000_000
}
