//! Refresh tokens. A *family* is all refresh tokens of one login. When a token that was replaced is used again, the whole family
//! is revoked.

use weir_db::{DbError, Executor, Row, sql};

use super::locks::lock_unrevoked;
use super::{Client, Store, User, list_of};

/// The row of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// The digest of the whole token.
    pub token_hash: String,
    /// The id of the token.
    pub jti: String,
    /// The user whose login the token stands for.
    pub user_id: String,
    /// The client that the token was issued to.
    pub client_id: String,
    /// The scopes that access tokens from this refresh token may have.
    pub scopes: Vec<String>,
    /// The id of the login that the token came from.
    pub family: String,
    /// The grant by which the user logged in.
    pub grant_type: String,
    /// The time of the login, in seconds since 1970.
    pub auth_time: i64,
    /// The time when the token was issued, in milliseconds since 1970.
    pub issued_at: i64,
    /// The time when the token expires, in milliseconds since 1970.
    pub expires_at: i64,
    /// The time when the token was replaced or revoked, in milliseconds since 1970.
    pub revoked_at: Option<i64>,
}

/// The outcome of an attempt to use a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The token is valid, and its successor is stored if there is one.
    Now,
    /// The token was revoked or removed.
    Revoked,
    /// The user or the client was changed or revoked since it was read.
    ChangedMeanwhile,
}

impl RefreshToken {
    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            token_hash: row.get("token_hash")?,
            jti: row.get("jti")?,
            user_id: row.get("user_id")?,
            client_id: row.get("client_id")?,
            scopes: list_of(row, "scopes")?,
            family: row.get("family")?,
            grant_type: row.get("grant_type")?,
            auth_time: row.get("auth_time")?,
            issued_at: row.get("issued_at")?,
            expires_at: row.get("expires_at")?,
            revoked_at: row.get("revoked_at")?,
        })
    }
}

const COLUMNS: &str = "token_hash, jti, user_id, client_id, scopes, family, grant_type, auth_time, issued_at, expires_at, \
                       revoked_at";

impl Store {
    /// Returns the token with this digest.
    pub async fn refresh_token(&self, token_hash: &str) -> Result<Option<RefreshToken>, DbError> {
        let query = sql(format!("select {COLUMNS} from uaa_refresh_tokens where token_hash = ?")).bind(token_hash);
        self.db.first(query).await?.as_ref().map(RefreshToken::read).transpose()
    }

    /// Returns the token with this id.
    pub async fn refresh_token_by_jti(&self, jti: &str) -> Result<Option<RefreshToken>, DbError> {
        let query = sql(format!("select {COLUMNS} from uaa_refresh_tokens where jti = ?")).bind(jti);
        self.db.first(query).await?.as_ref().map(RefreshToken::read).transpose()
    }

    /// Returns the valid tokens of a user, of a client, or of a user with a client, newest first.
    pub async fn refresh_tokens(&self, user: Option<&str>, client: Option<&str>) -> Result<Vec<RefreshToken>, DbError> {
        let mut query = sql(format!(
            "select {COLUMNS} from uaa_refresh_tokens where revoked_at is null and expires_at > ? \
             and (? = '' or user_id = ?) and (? = '' or client_id = ?) order by issued_at desc, jti limit 1000"
        ))
        .bind(self.now());
        for value in [user, client] {
            let value = value.unwrap_or_default();
            query = query.bind(value).bind(value);
        }
        self.db.all(query).await?.iter().map(RefreshToken::read).collect()
    }

    /// Stores a refresh token that is issued to a user and a client. Returns `false` if one of them was changed or revoked since
    /// it was read; then nothing may be issued, also without a refresh token.
    pub async fn issue(
        &self,
        user: Option<&User>,
        client: &Client,
        token: Option<&RefreshToken>,
    ) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_unrevoked(&mut transaction, user, Some(client)).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        if let Some(token) = token {
            insert(&mut transaction, token).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Uses a refresh token, if the token, the user and the client are still valid. `fresh` replaces the token.
    pub async fn renew(
        &self,
        (user, client): (&User, &Client),
        old: &str,
        fresh: Option<&RefreshToken>,
    ) -> Result<Renewed, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_unrevoked(&mut transaction, Some(user), Some(client)).await? {
            transaction.rollback().await?;
            return Ok(Renewed::ChangedMeanwhile);
        }
        let good = match fresh {
            Some(fresh) => {
                let update =
                    sql("update uaa_refresh_tokens set revoked_at = ? where token_hash = ? and revoked_at is null");
                let good = transaction.execute(update.bind(self.now()).bind(old)).await? == 1;
                if good {
                    insert(&mut transaction, fresh).await?;
                }
                good
            }
            // The row of the token needs no lock: a revocation must first lock the user, whom this transaction has locked.
            None => {
                let query = sql("select jti from uaa_refresh_tokens where token_hash = ? and revoked_at is null");
                transaction.first(query.bind(old)).await?.is_some()
            }
        };
        if !good {
            transaction.rollback().await?;
            return Ok(Renewed::Revoked);
        }
        transaction.commit().await?;
        Ok(Renewed::Now)
    }
}

pub(super) async fn insert(on: &mut impl Executor, token: &RefreshToken) -> Result<(), DbError> {
    let insert = sql(format!(
        "insert into uaa_refresh_tokens ({COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ));
    let insert = insert
        .bind(&token.token_hash)
        .bind(&token.jti)
        .bind(&token.user_id)
        .bind(&token.client_id)
        .bind(token.scopes.join(" "))
        .bind(&token.family)
        .bind(&token.grant_type)
        .bind(token.auth_time)
        .bind(token.issued_at)
        .bind(token.expires_at)
        .bind(token.revoked_at);
    on.execute(insert).await.map(drop)
}
