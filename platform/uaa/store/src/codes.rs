//! Authorization codes and one-time passcodes, which can be used once and for a short time.

use weir_db::{DbError, Row, sql};

use super::locks::lock_unrevoked;
use super::refresh::insert;
use super::sweep::CODES_OF_A_USER;
use super::{Client, RefreshToken, Store, User, list_of};

/// The row of an authorization code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The digest of the code.
    pub code_hash: String,
    /// The client that the code was issued to.
    pub client_id: String,
    /// The user whose login the code stands for.
    pub user_id: String,
    /// The redirect URI that the request for the code named; `None` if it named none.
    pub redirect_uri: Option<String>,
    /// The scopes that a token for the code may have.
    pub scopes: Vec<String>,
    /// The S256 challenge of PKCE.
    pub challenge: Option<String>,
    /// The `nonce` that the id token must repeat.
    pub nonce: Option<String>,
    /// The time of the login, in seconds since 1970.
    pub auth_time: i64,
    /// The time when the code expires, in milliseconds since 1970.
    pub expires_at: i64,
    /// The time when the code was redeemed, in milliseconds since 1970.
    pub used_at: Option<i64>,
    /// The id of the access token that was issued for the code.
    pub access_jti: Option<String>,
    /// The family of the refresh token that was issued for the code.
    pub family: Option<String>,
}

/// The outcome of an attempt to redeem a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// The code is redeemed now.
    Now,
    /// The code was redeemed before. The row names the tokens that were issued for it.
    Before(Box<Code>),
    /// There is no such code, because its user or client was revoked.
    Gone,
    /// The user or the client was changed or revoked since it was read.
    ChangedMeanwhile,
}

const COLUMNS: &str = "code_hash, client_id, user_id, redirect_uri, scopes, challenge, nonce, auth_time, expires_at, \
                       used_at, access_jti, family";

impl Code {
    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            code_hash: row.get("code_hash")?,
            client_id: row.get("client_id")?,
            user_id: row.get("user_id")?,
            redirect_uri: row.get("redirect_uri")?,
            scopes: list_of(row, "scopes")?,
            challenge: row.get("challenge")?,
            nonce: row.get("nonce")?,
            auth_time: row.get("auth_time")?,
            expires_at: row.get("expires_at")?,
            used_at: row.get("used_at")?,
            access_jti: row.get("access_jti")?,
            family: row.get("family")?,
        })
    }
}

impl Store {
    /// Stores a code for a user and a client. Returns `false` if one of them was changed or revoked since it was read. Of a user's
    /// codes that are not redeemed, the newest `CODES_OF_A_USER` are kept.
    pub async fn add_code(&self, code: &Code, user: &User, client: &Client) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_unrevoked(&mut transaction, Some(user), Some(client)).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        let insert = sql(format!(
            "insert into uaa_codes ({COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        ));
        let insert = insert
            .bind(&code.code_hash)
            .bind(&code.client_id)
            .bind(&code.user_id)
            .bind(code.redirect_uri.clone())
            .bind(code.scopes.join(" "))
            .bind(code.challenge.clone())
            .bind(code.nonce.clone())
            .bind(code.auth_time)
            .bind(code.expires_at)
            .bind(code.used_at)
            .bind(code.access_jti.clone())
            .bind(code.family.clone());
        transaction.execute(insert).await?;
        transaction.commit().await?;
        // In a statement of its own, which can be repeated if it deadlocks with that of another request of this user.
        weir_db::retrying(|| self.drop_surplus(&code.user_id)).await?;
        Ok(true)
    }

    async fn drop_surplus(&self, user_id: &str) -> Result<(), DbError> {
        // MySQL allows neither `limit` in the subquery of a `delete` nor `offset` without `limit`; 1000 is more than there
        // can be.
        let surplus = sql(
            "delete from uaa_codes where code_hash in (select code_hash from (select code_hash from uaa_codes \
             where user_id = ? and used_at is null order by expires_at desc, code_hash limit 1000 offset ?) surplus)",
        );
        self.db
            .execute(surplus.bind(user_id).bind(CODES_OF_A_USER))
            .await
            .map(drop)
    }

    /// Returns the code with this digest.
    pub async fn code(&self, code_hash: &str) -> Result<Option<Code>, DbError> {
        let query = sql(format!("select {COLUMNS} from uaa_codes where code_hash = ?")).bind(code_hash);
        self.db.first(query).await?.as_ref().map(Code::read).transpose()
    }

    /// Redeems a code and stores the tokens that are issued for it, in one transaction. Of two attempts at the same time one
    /// succeeds, and the other learns which tokens to revoke.
    pub async fn redeem_code(
        &self,
        code_hash: &str,
        (user, client): (&User, &Client),
        access_jti: &str,
        family: &str,
        refresh: Option<&RefreshToken>,
    ) -> Result<Redeemed, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_unrevoked(&mut transaction, Some(user), Some(client)).await? {
            transaction.rollback().await?;
            return Ok(Redeemed::ChangedMeanwhile);
        }
        // Of two concurrent attempts, the condition lets one change the row.
        let update =
            sql("update uaa_codes set used_at = ?, access_jti = ?, family = ? where code_hash = ? and used_at is null");
        let update = update.bind(self.now()).bind(access_jti).bind(family).bind(code_hash);
        if transaction.execute(update).await? == 0 {
            transaction.rollback().await?;
            let code = self.code(code_hash).await?;
            return Ok(code.map_or(Redeemed::Gone, |code| Redeemed::Before(Box::new(code))));
        }
        if let Some(refresh) = refresh {
            insert(&mut transaction, refresh).await?;
        }
        transaction.commit().await?;
        Ok(Redeemed::Now)
    }

    /// Marks a code as used, because a request with a wrong redirect URI or verifier has shown it.
    pub async fn invalidate_code(&self, code_hash: &str) -> Result<(), DbError> {
        let update = sql("update uaa_codes set used_at = ? where code_hash = ? and used_at is null");
        self.db.execute(update.bind(self.now()).bind(code_hash)).await.map(drop)
    }

    /// Stores a passcode for a user in place of the user's earlier ones. Returns `false` if the user was changed or revoked since
    /// they were read.
    pub async fn add_passcode(
        &self,
        code_hash: &str,
        user: &User,
        auth_time: i64,
        expires_at: i64,
    ) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_unrevoked(&mut transaction, Some(user), None).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        let insert = sql("insert into uaa_passcodes (code_hash, user_id, auth_time, expires_at) values (?, ?, ?, ?)");
        let before = sql("delete from uaa_passcodes where user_id = ?").bind(&user.id);
        transaction.execute(before).await?;
        let insert = insert.bind(code_hash).bind(&user.id).bind(auth_time).bind(expires_at);
        transaction.execute(insert).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Returns the user of a passcode and the time of the login (seconds since 1970), if the passcode has not expired.
    pub async fn passcode(&self, code_hash: &str) -> Result<Option<(String, i64)>, DbError> {
        let query = sql("select user_id, auth_time from uaa_passcodes where code_hash = ? and expires_at > ?");
        match self.db.first(query.bind(code_hash).bind(self.now())).await? {
            Some(row) => Ok(Some((row.get("user_id")?, row.get("auth_time")?))),
            None => Ok(None),
        }
    }

    /// Uses a passcode. Returns `false` if it was used or revoked before.
    ///
    /// The caller must have read the user before the call: a revocation before the read has removed the passcode, and a later
    /// one is found when the token is issued.
    pub async fn take_passcode(&self, code_hash: &str) -> Result<bool, DbError> {
        let delete = sql("delete from uaa_passcodes where code_hash = ?").bind(code_hash);
        Ok(self.db.execute(delete).await? == 1)
    }
}
