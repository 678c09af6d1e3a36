//! Sessions of browsers in which a user is logged in.

use std::time::Duration;

use weir_db::{DbError, sql};

use super::locks::{AS_OF, as_of, lock_unrevoked};
use super::{Store, User};

/// The milliseconds between two writes of the time of the last request. A write for each request would be a transaction each.
const NOTED_EVERY: i64 = 30_000;

/// A session of a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The user who is logged in.
    pub user_id: String,
    /// The time of the login, in seconds since 1970.
    pub auth_time: i64,
    /// The number of the last revocation when this row was read.
    pub as_of: i64,
}

impl Store {
    /// Stores a session of a user. Returns `false` if the user was changed or revoked since they were read.
    pub async fn add_session(
        &self,
        session_hash: &str,
        user: &User,
        auth_time: i64,
        longest: Duration,
    ) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_unrevoked(&mut transaction, Some(user), None).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        let now = self.now();
        let longest = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        let insert = sql(
            "insert into uaa_sessions (session_hash, user_id, auth_time, seen_at, expires_at) values (?, ?, ?, ?, ?)",
        );
        let insert = insert.bind(session_hash).bind(&user.id).bind(auth_time).bind(now);
        transaction.execute(insert.bind(now.saturating_add(longest))).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Returns the session with this digest, if it has not expired, and records the request.
    pub async fn session(&self, session_hash: &str, idle: Duration) -> Result<Option<Session>, DbError> {
        let query = sql(format!(
            "select user_id, auth_time, seen_at, expires_at, {AS_OF} from uaa_sessions where session_hash = ?"
        ));
        let Some(row) = self.db.first(query.bind(session_hash)).await? else {
            return Ok(None);
        };
        let now = self.now();
        let (seen, end): (i64, i64) = (row.get("seen_at")?, row.get("expires_at")?);
        let idle = i64::try_from(idle.as_millis()).unwrap_or(i64::MAX);
        if now >= end || now.saturating_sub(seen) >= idle {
            self.remove_session(session_hash).await?;
            return Ok(None);
        }
        if now - seen >= NOTED_EVERY {
            let update = sql("update uaa_sessions set seen_at = ? where session_hash = ?");
            self.db.execute(update.bind(now).bind(session_hash)).await?;
        }
        Ok(Some(Session {
            user_id: row.get("user_id")?,
            auth_time: row.get("auth_time")?,
            as_of: as_of(&row)?,
        }))
    }

    /// Ends the session with this digest.
    pub async fn remove_session(&self, session_hash: &str) -> Result<(), DbError> {
        let delete = sql("delete from uaa_sessions where session_hash = ?");
        self.db.execute(delete.bind(session_hash)).await.map(drop)
    }
}
