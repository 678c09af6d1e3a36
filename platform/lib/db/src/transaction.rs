//! Transactions: statements that take effect together or not at all.

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, MySql, Postgres, Sqlite};

use crate::database::{bind, wrap};
use crate::row::Kind;
use crate::{DbError, Dialect, Executor, Row, Statement, Value};

/// An open transaction. It is rolled back if it is dropped without [`Transaction::commit`].
#[derive(Debug)]
pub struct Transaction {
    open: Open,
    dialect: Dialect,
}

#[derive(Debug)]
pub(crate) enum Open {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
    MySql(sqlx::Transaction<'static, MySql>),
}

impl Transaction {
    pub(crate) const fn new(open: Open, dialect: Dialect) -> Self {
        Self { open, dialect }
    }

    /// The SQL dialect of the server.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// If the transaction conflicted with another one, or the connection was lost. In the latter case it is not known
    /// whether the transaction took effect.
    pub async fn commit(self) -> Result<(), DbError> {
        match self.open {
            Open::Sqlite(transaction) => transaction.commit().await?,
            Open::Postgres(transaction) => transaction.commit().await?,
            Open::MySql(transaction) => transaction.commit().await?,
        }
        Ok(())
    }

    /// Rolls the transaction back at once. A dropped transaction is rolled back when its connection is used again.
    ///
    /// # Errors
    /// If the connection was lost.
    pub async fn rollback(self) -> Result<(), DbError> {
        match self.open {
            Open::Sqlite(transaction) => transaction.rollback().await?,
            Open::Postgres(transaction) => transaction.rollback().await?,
            Open::MySql(transaction) => transaction.rollback().await?,
        }
        Ok(())
    }

    /// Runs a statement that returns no rows; returns the number of rows that it changed.
    ///
    /// # Errors
    /// If the server refuses the statement or cannot be reached. On PostgreSQL, only a rollback is possible afterwards.
    pub async fn execute(&mut self, statement: Statement) -> Result<u64, DbError> {
        statement.check()?;
        let text = self.dialect.placeholders(&statement.text).into_owned();
        Ok(match &mut self.open {
            Open::Sqlite(open) => bind!(text, statement).execute(&mut **open).await?.rows_affected(),
            Open::Postgres(open) => bind!(text, statement).execute(&mut **open).await?.rows_affected(),
            Open::MySql(open) => bind!(text, statement).execute(&mut **open).await?.rows_affected(),
        })
    }

    /// Runs a query; returns all of its rows.
    ///
    /// # Errors
    /// As for [`Transaction::execute`].
    pub async fn all(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        statement.check()?;
        let text = self.dialect.placeholders(&statement.text).into_owned();
        Ok(match &mut self.open {
            Open::Sqlite(open) => wrap(bind!(text, statement).fetch_all(&mut **open).await?, Kind::Sqlite),
            Open::Postgres(open) => wrap(bind!(text, statement).fetch_all(&mut **open).await?, Kind::Postgres),
            Open::MySql(open) => wrap(bind!(text, statement).fetch_all(&mut **open).await?, Kind::MySql),
        })
    }

    /// Runs a query; returns its first row, if there is one.
    ///
    /// # Errors
    /// As for [`Transaction::execute`].
    pub async fn first(&mut self, statement: Statement) -> Result<Option<Row>, DbError> {
        statement.check()?;
        let text = self.dialect.placeholders(&statement.text).into_owned();
        let kind = match &mut self.open {
            Open::Sqlite(open) => {
                let query = bind!(text, statement);
                query.fetch_optional(&mut **open).await?.map(Kind::Sqlite)
            }
            Open::Postgres(open) => {
                let query = bind!(text, statement);
                query.fetch_optional(&mut **open).await?.map(Kind::Postgres)
            }
            Open::MySql(open) => {
                let query = bind!(text, statement);
                query.fetch_optional(&mut **open).await?.map(Kind::MySql)
            }
        };
        Ok(kind.map(Row))
    }
}

impl Executor for Transaction {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn execute(&mut self, statement: Statement) -> BoxFuture<'_, Result<u64, DbError>> {
        Box::pin(Self::execute(self, statement))
    }

    fn all(&mut self, statement: Statement) -> BoxFuture<'_, Result<Vec<Row>, DbError>> {
        Box::pin(Self::all(self, statement))
    }

    fn first(&mut self, statement: Statement) -> BoxFuture<'_, Result<Option<Row>, DbError>> {
        Box::pin(Self::first(self, statement))
    }
}
