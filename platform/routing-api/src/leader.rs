//! Which of several instances serves: the one that holds a lock.
//!
//! [`Lease`] keeps the lock in a row of the database: its holder, a term that grows with each change of the holder, and a beat
//! that grows with each sign of life. No clock is compared with another machine's: an instance that waits takes the lock when
//! it has seen one and the same beat for the whole time to live, by its own clock. An update that names the term and the beat
//! that were seen decides between several that try.
//!
//! A holder that cannot renew the lock for three quarters of the time to live counts it as lost, which is before another one
//! takes it. The holder's name is the instance's, so that one that was killed has its lock again at once when it starts.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use weir_db::{Database, DbError, Executor as _, sql};
use weir_error::chain;
use weir_service::Clock;

/// The name of the lock, as in the original.
const NAME: &str = "routing_api_lock";

/// A lock that one of several instances holds.
pub(crate) trait Leader: Debug + Send + Sync {
    /// Tries to take the lock, once; returns whether this instance holds it.
    fn take(&self) -> BoxFuture<'_, bool>;

    /// Renews the lock until it is lost. Cancel safe, but not for longer than a part of the lock's time to live.
    fn lost(&self) -> BoxFuture<'_, ()>;

    /// Gives the lock up, so that another instance takes it without waiting.
    fn give_up(&self) -> BoxFuture<'_, ()>;

    /// Whether another instance has taken the lock that was given up.
    fn has_successor(&self) -> BoxFuture<'_, bool>;
}

/// A lock in the database.
#[derive(Debug)]
pub(crate) struct Lease {
    db: Database,
    clock: Clock,
    instance: String,
    ttl: Duration,
    known: Mutex<Known>,
}

/// What is known of the lock.
#[derive(Debug, Default)]
struct Known {
    /// The term in which this instance holds it.
    term: Option<i64>,
    /// Whether this instance has looked at it before.
    has_looked: bool,
    /// What was seen last, and since when.
    seen: Option<(Row, Instant)>,
}

/// The lock as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    holder: String,
    term: i64,
    beat: i64,
}

impl Lease {
    pub(crate) fn new(db: Database, clock: Clock, instance: &str, ttl: Duration) -> Self {
        Self {
            db,
            clock,
            instance: instance.to_owned(),
            ttl,
            known: Mutex::default(),
        }
    }

    async fn row(&self) -> Result<Option<Row>, DbError> {
        let query = sql("select holder, term, beat from routing_lock where name = ?").bind(NAME);
        let row = self.db.first(query).await?;
        let row = row.map(|row| {
            Ok::<_, DbError>(Row {
                holder: row.get("holder")?,
                term: row.get("term")?,
                beat: row.get("beat")?,
            })
        });
        row.transpose()
    }

    async fn try_take(&self) -> Result<bool, DbError> {
        let Some(row) = self.row().await? else {
            let values = vec![NAME.into(), self.instance.as_str().into(), 1.into(), 0.into()];
            let columns = ["name", "holder", "term", "beat"];
            let is_first = (&self.db).insert_new("routing_lock", &columns, values).await?;
            let mut known = self.known.lock();
            known.has_looked = true;
            known.term = is_first.then_some(1);
            return Ok(is_first);
        };
        if !self.is_free(&row) {
            return Ok(false);
        }
        let term = row.term.saturating_add(1);
        let update = sql(
            "update routing_lock set holder = ?, term = ?, beat = 0 where name = ? and holder = ? and term = ? and beat = ?",
        );
        let update = update.bind(&self.instance).bind(term).bind(NAME);
        let update = update.bind(row.holder).bind(row.term).bind(row.beat);
        let is_mine = self.db.execute(update).await? == 1;
        self.known.lock().term = is_mine.then_some(term);
        Ok(is_mine)
    }

    /// Whether the lock may be taken: it was given up, or is of this instance's last life, or its holder is silent.
    fn is_free(&self, row: &Row) -> bool {
        let now = self.clock.instant();
        let mut known = self.known.lock();
        let is_own = !std::mem::replace(&mut known.has_looked, true) && row.holder == self.instance;
        let since = match &known.seen {
            Some((seen, since)) if seen == row => *since,
            _ => now,
        };
        known.seen = Some((row.clone(), since));
        is_own || row.holder.is_empty() || now.saturating_duration_since(since) >= self.ttl
    }

    /// Gives a sign of life; `false` if the lock is another one's.
    async fn renew(&self) -> Result<bool, DbError> {
        let Some(term) = self.known.lock().term else {
            return Ok(false);
        };
        let update = sql("update routing_lock set beat = beat + 1 where name = ? and holder = ? and term = ?");
        let update = update.bind(NAME).bind(&self.instance).bind(term);
        Ok(self.db.execute(update).await? == 1)
    }

    async fn keep(&self) {
        let mut renewed = self.clock.instant();
        loop {
            sleep(self.ttl / 4).await;
            let begun = self.clock.instant();
            match timeout(self.ttl / 8, self.renew()).await {
                Ok(Ok(true)) => renewed = begun,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => tracing::warn!(error = chain(&error), "lock cannot be renewed"),
                Err(_) => tracing::warn!("lock cannot be renewed: the database does not answer"),
            }
            if self.clock.instant().saturating_duration_since(renewed) >= self.ttl * 3 / 4 {
                break;
            }
        }
        let mut known = self.known.lock();
        known.term = None;
        known.seen = None;
    }
}

impl Leader for Lease {
    fn take(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let taken = self.try_take().await;
            taken.unwrap_or_else(|error| {
                tracing::warn!(error = chain(&error), "lock cannot be looked at");
                false
            })
        })
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.keep())
    }

    fn give_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Some(term) = self.known.lock().term.take() else {
                return;
            };
            let update = sql("update routing_lock set holder = '' where name = ? and holder = ? and term = ?");
            let update = update.bind(NAME).bind(&self.instance).bind(term);
            if let Err(error) = self.db.execute(update).await {
                tracing::warn!(error = chain(&error), "lock cannot be given up; it ends by itself");
            }
        })
    }

    fn has_successor(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { matches!(self.row().await, Ok(Some(row)) if !row.holder.is_empty()) })
    }
}

#[cfg(test)]
mod tests;
