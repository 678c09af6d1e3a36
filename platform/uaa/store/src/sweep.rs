//! Removes all expired rows, a few hundred in each transaction, so that other transactions do not wait long.
//!
//! | Table | Rows are kept until | Limit |
//! |---|---|---|
//! | refresh tokens, sessions | they expire | 5,000 of one user ([`USER_QUOTAS`]) |
//! | passcodes | they expire | one of one user |
//! | codes that are not redeemed | they expire | [`CODES_OF_A_USER`] of one user |
//! | redeemed codes | one week after they expire, because a replay must revoke what was issued | 5,000 of one user ([`USER_QUOTAS`]) |
//! | failures of a name | their window and lock have ended | 100,000 names that are not locked |
//! | revocations | all their tokens have expired | |
//!
//! Above a limit, the oldest rows are removed.
//!
//! Only the table of failures can be filled without a login, and each of its rows takes a hash.

use std::time::Duration;

use weir_db::{DbError, Value, sql};

use super::{LockoutConfig, Store};

/// The number of rows that one transaction removes.
const CHUNK: i64 = 500;

/// The limits of rows that have not expired.
#[derive(Debug, Clone, Copy)]
struct RowLimits {
    /// The number of names whose failures are kept. Above it, the oldest failures of names that are not locked are removed.
    failures: i64,
    /// The rows of one user in each table of [`USER_QUOTAS`].
    of_a_user: i64,
}

const LIMITS: RowLimits = RowLimits {
    failures: 100_000,
    of_a_user: 5000,
};

/// A table in which a user can create any number of long-lived rows.
struct UserQuota {
    table: &'static str,
    key: &'static str,
    condition: &'static str,
    /// The column by which the oldest rows are found.
    age: &'static str,
}

const USER_QUOTAS: [UserQuota; 3] = [
    UserQuota {
        table: "uaa_refresh_tokens",
        key: "token_hash",
        condition: "1 = 1",
        age: "issued_at",
    },
    UserQuota {
        table: "uaa_sessions",
        key: "session_hash",
        condition: "1 = 1",
        age: "expires_at",
    },
    UserQuota {
        table: "uaa_codes",
        key: "code_hash",
        condition: "used_at is not null",
        age: "expires_at",
    },
];

/// The milliseconds for which a redeemed code is kept after it has expired.
const REPLAY_RETENTION: i64 = 7 * 24 * 3_600_000;

/// The number of codes of one user that are not redeemed. Above it, the oldest are removed.
pub(super) const CODES_OF_A_USER: i64 = 50;

impl Store {
    /// Removes expired rows. Returns their number.
    pub async fn sweep(&self, lockout: LockoutConfig) -> Result<u64, DbError> {
        self.sweep_to(lockout, LIMITS).await
    }

    async fn sweep_to(&self, lockout: LockoutConfig, limits: RowLimits) -> Result<u64, DbError> {
        let now = self.now();
        let mut swept = 0;
        for (table, key) in [
            ("uaa_refresh_tokens", "token_hash"),
            ("uaa_passcodes", "code_hash"),
            ("uaa_sessions", "session_hash"),
        ] {
            swept += self.sweep_where(table, key, "expires_at < ?", &[now.into()]).await?;
        }
        let codes = "expires_at < ? and (used_at is null or expires_at < ?)";
        let values: [Value; 2] = [now.into(), (now - REPLAY_RETENTION).into()];
        swept += self.sweep_where("uaa_codes", "code_hash", codes, &values).await?;
        let counts = now.saturating_sub(millis(lockout.window));
        let values: [Value; 2] = [counts.into(), now.into()];
        let failures = "last_at < ? and locked_until < ?";
        swept += self.sweep_where("uaa_failures", "principal", failures, &values).await?;
        swept += self.sweep_surplus(limits.failures).await?;
        for quota in &USER_QUOTAS {
            swept += self.sweep_quota(quota, limits.of_a_user).await?;
        }
        Ok(swept + self.sweep_revocations().await?)
    }

    /// Deletes all rows that meet a condition. Returns their number.
    async fn sweep_where(&self, table: &str, key: &str, condition: &str, values: &[Value]) -> Result<u64, DbError> {
        let mut swept = 0;
        loop {
            // MySQL allows `limit` only in the inner of two nested subqueries.
            let delete = sql(format!(
                "delete from {table} where {key} in \
                 (select {key} from (select {key} from {table} where {condition} limit ?) doomed)"
            ));
            let deleted = self
                .db
                .execute(delete.bind_all(values.iter().cloned()).bind(CHUNK))
                .await?;
            swept += deleted;
            if deleted == 0 {
                return Ok(swept);
            }
        }
    }

    /// Deletes the oldest rows of each user above `most`. Returns their number.
    async fn sweep_quota(&self, quota: &UserQuota, most: i64) -> Result<u64, DbError> {
        let UserQuota {
            table,
            key,
            condition,
            age,
        } = quota;
        let query = sql(format!(
            "select user_id, count(*) as n from {table} where {condition} group by user_id having count(*) > ?"
        ));
        let mut swept = 0;
        for row in self.db.all(query.bind(most)).await? {
            let (user, count): (String, i64) = (row.get("user_id")?, row.get("n")?);
            let mut surplus = count - most;
            while surplus > 0 {
                let delete = sql(format!(
                    "delete from {table} where {key} in (select {key} from \
                     (select {key} from {table} where user_id = ? and {condition} order by {age}, {key} limit ?) doomed)"
                ));
                let deleted = self.db.execute(delete.bind(&user).bind(surplus.min(CHUNK))).await?;
                if deleted == 0 {
                    break;
                }
                swept += deleted;
                surplus -= i64::try_from(deleted).unwrap_or(i64::MAX);
            }
        }
        Ok(swept)
    }

    /// Deletes the oldest failures above `most`. Returns their number.
    async fn sweep_surplus(&self, most: i64) -> Result<u64, DbError> {
        let count = sql("select count(*) as n from uaa_failures");
        let count: i64 = self.db.first(count).await?.map_or(Ok(0), |row| row.get("n"))?;
        let (mut surplus, mut swept) = ((count - most).max(0), 0);
        while surplus > 0 {
            let delete = sql("delete from uaa_failures where principal in (select principal from \
                 (select principal from uaa_failures where locked_until < ? order by last_at limit ?) doomed)");
            let deleted = self
                .db
                .execute(delete.bind(self.now()).bind(surplus.min(CHUNK)))
                .await?;
            if deleted == 0 {
                break;
            }
            swept += deleted;
            surplus -= i64::try_from(deleted).unwrap_or(i64::MAX);
        }
        Ok(swept)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use weir_db::servers::{Kind, Server};
    use weir_service::{Clock, ManualClock};

    use super::*;
    use crate::tests::{client, refresh, user};
    use crate::{Client, Code, User};

    const LOCKOUT: LockoutConfig = LockoutConfig {
        attempts: 2,
        window: Duration::from_secs(3600),
        lock: Duration::from_secs(7200),
    };

    async fn store(kind: Kind) -> Option<(Server, Store, ManualClock)> {
        let server = Server::start(kind).await?;
        let (hands, clock) = Clock::manual(1_800_000_000_000_000_000);
        let store = Store::open(&server.database().await, clock).await.unwrap();
        Some((server, store, hands))
    }

    async fn count(store: &Store, table: &str) -> i64 {
        let query = sql(format!("select count(*) as n from {table}"));
        store.db.first(query).await.unwrap().unwrap().get("n").unwrap()
    }

    async fn add_code(
        store: &Store,
        number: usize,
        (user, client): (&User, &Client),
        expires_at: i64,
        used_at: Option<i64>,
    ) {
        let code = Code {
            code_hash: format!("{} {number}", user.user_name),
            client_id: client.id.clone(),
            user_id: user.id.clone(),
            redirect_uri: None,
            scopes: Vec::new(),
            challenge: None,
            nonce: None,
            auth_time: 0,
            expires_at,
            used_at,
            access_jti: None,
            family: None,
        };
        assert!(store.add_code(&code, user, client).await.unwrap());
    }

    /// One sweep removes all expired rows and no others, and rows above a limit.
    async fn sweeps(kind: Kind) {
        let Some((_server, store, hands)) = store(kind).await else {
            return;
        };
        let now = store.now();
        let app = client(&store, "app").await;
        let [idle, busy] = [user(&store, "idle").await, user(&store, "busy").await];
        for number in 0..1100 {
            let name = number.to_string();
            store
                .add_session(&name, &idle, 0, Duration::from_secs(60))
                .await
                .unwrap();
            store.count_failure(&name, LOCKOUT).await.unwrap();
        }
        for number in 0..3 {
            add_code(&store, number, (&idle, &app), now + 1000, None).await;
            add_code(&store, number, (&busy, &app), now + 1000, Some(now)).await;
            store
                .add_passcode(&number.to_string(), &idle, 0, now + 1000)
                .await
                .unwrap();
        }
        assert_eq!(count(&store, "uaa_passcodes").await, 1, "one of a user");
        assert_eq!(store.sweep(LOCKOUT).await.unwrap(), 0);
        hands.advance(Duration::from_secs(61));
        let hour = Duration::from_secs(3600);
        store.add_session("kept", &idle, 0, hour).await.unwrap();
        assert_eq!(store.sweep(LOCKOUT).await.unwrap(), 1100 + 3 + 1);
        assert_eq!(count(&store, "uaa_sessions").await, 1);
        assert_eq!(count(&store, "uaa_codes").await, 3);
        // Locked names stay until their lock ends.
        hands.advance(Duration::from_secs(3000));
        for _ in 0..2 {
            store.count_failure("locked", LOCKOUT).await.unwrap();
        }
        hands.advance(Duration::from_secs(3601));
        assert_eq!(store.sweep(LOCKOUT).await.unwrap(), 1100 + 1);
        assert_eq!(count(&store, "uaa_failures").await, 1);
        for number in 0..600 {
            store.count_failure(&number.to_string(), LOCKOUT).await.unwrap();
            hands.advance(Duration::from_millis(1));
        }
        let few = RowLimits { failures: 10, ..LIMITS };
        assert_eq!(store.sweep_to(LOCKOUT, few).await.unwrap(), 601 - 10);
        assert!(store.failures("locked").await.unwrap().locked_until > store.now());
        assert_eq!(store.failures("599").await.unwrap().count, 1, "the newest stay");
        hands.advance(Duration::from_secs(8 * 24 * 3600));
        store.sweep(LOCKOUT).await.unwrap();
        assert_eq!(
            count(&store, "uaa_codes").await + count(&store, "uaa_failures").await,
            0
        );
        // Codes that are never redeemed.
        let now = store.now();
        for number in 0..120 {
            let expires_at = now + 60_000 + i64::try_from(number).unwrap();
            add_code(&store, number, (&idle, &app), expires_at, None).await;
        }
        add_code(&store, 0, (&busy, &app), now + 60_000, None).await;
        assert_eq!(count(&store, "uaa_codes").await, CODES_OF_A_USER + 1);
        assert!(store.code("idle 119").await.unwrap().is_some() && store.code("idle 0").await.unwrap().is_none());
        // The rows of one user above the limit are removed, and those of other users stay.
        let hour = Duration::from_secs(3600);
        for number in 0..5 {
            let end = now + 60_000 + number;
            let name = usize::try_from(number).unwrap();
            add_code(&store, 1000 + name, (&idle, &app), end, Some(now)).await;
            let mut token = refresh(&format!("idle {number}"), &idle, &app);
            (token.issued_at, token.expires_at) = (now + number, end);
            store.issue(Some(&idle), &app, Some(&token)).await.unwrap();
            store
                .add_session(&format!("of idle {number}"), &idle, 0, hour)
                .await
                .unwrap();
            hands.advance(Duration::from_millis(1));
        }
        let mut other = refresh("busy", &busy, &app);
        other.expires_at = now + 60_000;
        store.issue(Some(&busy), &app, Some(&other)).await.unwrap();
        let few = RowLimits { of_a_user: 2, ..LIMITS };
        assert_eq!(store.sweep_to(LOCKOUT, few).await.unwrap(), 3 * 3);
        for (number, stays) in [(2, false), (3, true), (4, true)] {
            let token = store.refresh_token(&format!("idle {number}")).await.unwrap();
            let session = store.session(&format!("of idle {number}"), hour).await.unwrap();
            let code = store.code(&format!("idle {}", 1000 + number)).await.unwrap();
            assert_eq!(
                (token.is_some(), session.is_some(), code.is_some()),
                (stays, stays, stays),
                "{number}"
            );
        }
        assert!(store.refresh_token("busy").await.unwrap().is_some());
        store.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sqlite() {
        sweeps(Kind::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn postgres() {
        sweeps(Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn mariadb() {
        sweeps(Kind::MariaDb).await;
    }
}
