//! Revokes what was issued: to a user, to a client, or to a user with a client. The revocation is part of the transaction of
//! the change that causes it. So no crash between the two can leave tokens that were issued for an old password.

use std::collections::BTreeSet;

use weir_db::{DbError, Executor, Transaction, sql};

use super::locks::{lock_client, lock_user, lock_users};
use super::{Store, TokenSet};

impl Store {
    /// Revokes a user's tokens, codes, passcodes and browser sessions. Returns `false` if there is no such user.
    pub async fn end_user(&self, user: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.end_user_once(user)).await
    }

    async fn end_user_once(&self, user: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_user(&mut transaction, user).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.end_user_within(&mut transaction, user).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Revokes a user's tokens, codes, passcodes and browser sessions, in a transaction that has locked the user.
    pub(super) async fn end_user_within(&self, transaction: &mut Transaction, user: &str) -> Result<(), DbError> {
        self.end_kept(transaction, Some(user), None).await?;
        for table in ["uaa_passcodes", "uaa_sessions"] {
            let delete = sql(format!("delete from {table} where user_id = ?"));
            transaction.execute(delete.bind(user)).await?;
        }
        self.revoke_within(transaction, &[TokenSet::User(user.to_owned())])
            .await
    }

    /// Revokes all tokens and codes of a client, its own and those of its users. Returns `false` if there is no such client.
    pub async fn end_client(&self, client: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.end_client_once(client)).await
    }

    async fn end_client_once(&self, client: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_client(&mut transaction, client).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.end_client_within(&mut transaction, client).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Revokes all tokens and codes of a client, in a transaction that has locked the client.
    pub(super) async fn end_client_within(&self, transaction: &mut Transaction, client: &str) -> Result<(), DbError> {
        self.end_kept(transaction, None, Some(client)).await?;
        self.revoke_within(transaction, &[TokenSet::Client(client.to_owned())])
            .await
    }

    /// Revokes the tokens and codes of a user with one client. Returns `false` if there is no such user.
    pub async fn end_user_of_client(&self, user: &str, client: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.end_user_of_client_once(user, client)).await
    }

    async fn end_user_of_client_once(&self, user: &str, client: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_user(&mut transaction, user).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.end_kept(&mut transaction, Some(user), Some(client)).await?;
        let what = TokenSet::UserOfClient(user.to_owned(), client.to_owned());
        self.revoke_within(&mut transaction, &[what]).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Revokes the access tokens of users who lost a group. Their refresh tokens stay: they give the scopes that are left.
    pub(super) async fn end_access_within(
        &self,
        transaction: &mut Transaction,
        users: BTreeSet<String>,
    ) -> Result<(), DbError> {
        lock_users(transaction, &users).await?;
        let list: Vec<TokenSet> = users.into_iter().map(TokenSet::User).collect();
        self.revoke_within(transaction, &list).await
    }

    /// Revokes all refresh tokens of one login of a user. Returns their number.
    pub async fn end_family(&self, user: &str, family: &str) -> Result<u64, DbError> {
        weir_db::retrying(|| self.end_family_once(user, family)).await
    }

    async fn end_family_once(&self, user: &str, family: &str) -> Result<u64, DbError> {
        let mut transaction = self.db.begin().await?;
        // The lock orders this after a refresh that has begun, whose new token is then found, and before any other refresh.
        lock_user(&mut transaction, user).await?;
        let update = sql("update uaa_refresh_tokens set revoked_at = ? where family = ? and revoked_at is null");
        let ended = transaction.execute(update.bind(self.now()).bind(family)).await?;
        transaction.commit().await?;
        Ok(ended)
    }

    /// Revokes refresh tokens, and removes codes that are not redeemed. Redeemed codes are kept, because a second use of one
    /// must revoke what was issued for it.
    async fn end_kept(&self, on: &mut impl Executor, user: Option<&str>, client: Option<&str>) -> Result<(), DbError> {
        let parts = [("user_id = ?", user), ("client_id = ?", client)];
        let (conditions, values): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .filter_map(|(condition, value)| Some((condition, value?)))
            .unzip();
        let condition = conditions.join(" and ");
        let revoke = sql(format!(
            "update uaa_refresh_tokens set revoked_at = ? where revoked_at is null and {condition}"
        ));
        on.execute(revoke.bind(self.now()).bind_all(values.iter().copied()))
            .await?;
        let delete = sql(format!("delete from uaa_codes where used_at is null and {condition}"));
        on.execute(delete.bind_all(values)).await.map(drop)
    }
}
