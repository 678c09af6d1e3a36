//! Signing keys, sealed.

use weir_db::{DbError, Transaction, sql};

use super::{Store, hold};

/// A key as it is kept.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// The name of the key.
    pub kid: String,
    /// The key pair (PKCS #8), sealed with the master key.
    pub sealed: Vec<u8>,
    /// When the key was made (milliseconds since 1970).
    pub created_at: i64,
    /// Since when the key signs no more (milliseconds since 1970).
    pub retired_at: Option<i64>,
}

impl Store {
    /// The keys that are published at this time.
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

    /// Adds a key if there is none that signs.
    pub async fn add_first_key(&self, key: &StoredKey) -> Result<(), DbError> {
        let mut transaction = self.db.begin().await?;
        hold(&mut transaction, "keys").await?;
        let present = sql("select kid from uaa_keys where retired_at is null");
        if transaction.first(present).await?.is_none() {
            insert(&mut transaction, key).await?;
        }
        transaction.commit().await
    }

    /// Retires `kid` and adds another key, unless it is retired already.
    pub async fn replace_key(
        &self,
        kid: &str,
        fresh: &StoredKey,
        now: i64,
        published_until: i64,
    ) -> Result<(), DbError> {
        let mut transaction = self.db.begin().await?;
        hold(&mut transaction, "keys").await?;
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

    /// Removes keys that are not published any more.
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
