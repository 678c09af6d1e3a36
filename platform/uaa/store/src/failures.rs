//! Counts failed logins, by a digest of the user name. Names that do not exist are counted too, and the table does not tell
//! which names were tried.

use std::time::Duration;

use weir_db::{DbError, sql};

use super::Store;

/// The limits of failed logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutConfig {
    /// The number of failures within the window that lock a user name.
    pub attempts: u32,
    /// The time within which failures are counted.
    pub window: Duration,
    /// How long a user name stays locked.
    pub lock: Duration,
}

/// The failed logins of one user name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    /// The number of failures within the window.
    pub count: i64,
    /// The time when the lock ends, in milliseconds since 1970; 0 if the name is not locked.
    pub locked_until: i64,
}

impl Store {
    /// Returns the failed logins of a principal.
    pub async fn failures(&self, principal: &str) -> Result<Failures, DbError> {
        let query = sql("select failures, locked_until from uaa_failures where principal = ?");
        let Some(row) = self.db.first(query.bind(principal)).await? else {
            return Ok(Failures::default());
        };
        Ok(Failures {
            count: row.get("failures")?,
            locked_until: row.get("locked_until")?,
        })
    }

    /// Counts a failed login. Returns whether it locks the user name.
    pub async fn count_failure(&self, principal: &str, policy: LockoutConfig) -> Result<bool, DbError> {
        weir_db::retrying(|| self.count_failure_once(principal, policy)).await
    }

    async fn count_failure_once(&self, principal: &str, policy: LockoutConfig) -> Result<bool, DbError> {
        let now = self.now();
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let mut transaction = self.db.begin().await?;
        // Without the lock, attempts at two nodes could both count from the same number.
        let lock = transaction.dialect().for_update();
        let query = sql(format!(
            "select failures, first_at from uaa_failures where principal = ?{lock}"
        ));
        let (mut count, mut first) = (0, now);
        if let Some(row) = transaction.first(query.bind(principal)).await? {
            (count, first) = (row.get("failures")?, row.get("first_at")?);
            if now - first >= millis(policy.window) {
                (count, first) = (0, now);
            }
        }
        count += 1;
        let locks = count >= i64::from(policy.attempts);
        let locked_until = if locks { now + millis(policy.lock) } else { 0 };
        if locks {
            // The count begins again after the lock.
            count = 0;
        }
        let statement = transaction.dialect().insert_or_replace(
            "uaa_failures",
            &["principal"],
            &["failures", "first_at", "last_at", "locked_until"],
        );
        let write = sql(statement)
            .bind(principal)
            .bind(count)
            .bind(first)
            .bind(now)
            .bind(locked_until);
        transaction.execute(write).await?;
        transaction.commit().await?;
        Ok(locks)
    }

    /// Removes the failures of a principal, which also unlocks the user name.
    pub async fn forget_failures(&self, principal: &str) -> Result<(), DbError> {
        let delete = sql("delete from uaa_failures where principal = ?");
        self.db.execute(delete.bind(principal)).await.map(drop)
    }
}
