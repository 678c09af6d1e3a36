//! Logins by an external provider that are under way.

use weir_db::{DbError, sql};

use super::Store;

/// What we must remember while a browser is at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalLogin {
    pub(crate) provider: String,
    /// Digest of the cookie of the browser that began.
    pub(crate) binding_hash: String,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
    pub(crate) continue_to: String,
    pub(crate) expires_at: i64,
}

impl Store {
    /// Keeps a login that begins.
    pub(crate) async fn add_login(&self, state_hash: &str, login: &ExternalLogin) -> Result<(), DbError> {
        let insert = sql(
            "insert into uaa_logins (state_hash, provider, binding_hash, nonce, verifier, continue_to, expires_at) \
             values (?, ?, ?, ?, ?, ?, ?)",
        );
        let insert = insert
            .bind(state_hash)
            .bind(&login.provider)
            .bind(&login.binding_hash)
            .bind(&login.nonce)
            .bind(&login.verifier)
            .bind(&login.continue_to)
            .bind(login.expires_at);
        self.db.execute(insert).await.map(drop)
    }

    /// Takes a login out, if it is there and not too old: it is good once.
    pub(crate) async fn take_login(&self, state_hash: &str) -> Result<Option<ExternalLogin>, DbError> {
        let query = sql(
            "select provider, binding_hash, nonce, verifier, continue_to, expires_at from uaa_logins \
             where state_hash = ?",
        );
        let Some(row) = self.db.first(query.bind(state_hash)).await? else {
            return Ok(None);
        };
        let delete = sql("delete from uaa_logins where state_hash = ?").bind(state_hash);
        if self.db.execute(delete).await? == 0 {
            return Ok(None);
        }
        let login = ExternalLogin {
            provider: row.get("provider")?,
            binding_hash: row.get("binding_hash")?,
            nonce: row.get("nonce")?,
            verifier: row.get("verifier")?,
            continue_to: row.get("continue_to")?,
            expires_at: row.get("expires_at")?,
        };
        Ok((login.expires_at > self.now()).then_some(login))
    }
}
