//! The encrypted signing keys.

use weir_db::{DbError, Transaction, sql};

use super::{Store, lock_setting};

/// The row of a key.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// The id of the key.
    pub kid: String,
    /// The key pair (PKCS #8), encrypted with the master key.
    pub sealed: Vec<u8>,
    /// The time when the key was created, in milliseconds since 1970.
    pub created_at: i64,
    /// The time since which the key does not sign, in milliseconds since 1970.
    pub retired_at: Option<i64>,
}

impl Store {
    /// Returns the keys that are published at `now` (milliseconds since 1970), newest first.
    pub async fn keys(&self, now: i64) -> Result<Vec<StoredKey>, DbError> {
        let query = sql("select kid, sealed, created_at, retired_at from uaa_keys \
             where published_until is null or published_until > ? order by created_at desc, kid");
        self.db
            .all(query.bind(now))
            .await?
            .iter()
            .map(|row| {
                Ok(StoredKey {
                    kid: row.get("kid")?,
                    sealed: row.get("sealed")?,
                    created_at: row.get("created_at")?,
                    retired_at: row.get("retired_at")?,
                })
            })
            .collect()
    }

    /// Adds a key if no key signs.
    pub async fn add_first_key(&self, key: &StoredKey) -> Result<(), DbError> {
        let mut transaction = self.db.begin().await?;
        lock_setting(&mut transaction, "keys").await?;
        let present = sql("select kid from uaa_keys where retired_at is null");
        if transaction.first(present).await?.is_none() {
            insert(&mut transaction, key).await?;
        }
        transaction.commit().await
    }

    /// Retires the key `kid` and adds `fresh`. Does nothing if `kid` is retired already.
    pub async fn replace_key(
        &self,
        kid: &str,
        fresh: &StoredKey,
        now: i64,
        published_until: i64,
    ) -> Result<(), DbError> {
        let mut transaction = self.db.begin().await?;
        lock_setting(&mut transaction, "keys").await?;
        let retire =
            sql("update uaa_keys set retired_at = ?, published_until = ? where kid = ? and retired_at is null");
        if transaction
            .execute(retire.bind(now).bind(published_until).bind(kid))
            .await?
            == 1
        {
            insert(&mut transaction, fresh).await?;
        }
        transaction.commit().await
    }

    /// Removes the keys that are not published any more. Returns their number.
    pub async fn forget_keys(&self, now: i64) -> Result<u64, DbError> {
        self.db
            .execute(sql("delete from uaa_keys where published_until < ?").bind(now))
            .await
    }
}

async fn insert(transaction: &mut Transaction, key: &StoredKey) -> Result<(), DbError> {
    let insert = sql("insert into uaa_keys (kid, sealed, created_at) values (?, ?, ?)");
    let insert = insert.bind(&key.kid).bind(key.sealed.clone()).bind(key.created_at);
    transaction.execute(insert).await.map(drop)
}
