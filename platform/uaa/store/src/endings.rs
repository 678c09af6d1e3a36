//! What ends what was issued: for a user, a client, a user with a client. Each is one transaction, and a part of the
//! transaction of the change that it belongs to: there is no moment, and no failure, between a changed password and the end
//! of what the old one opened.

use std::collections::BTreeSet;

use weir_db::{DbError, Executor, Transaction, sql};

use super::standing::{hold_client, hold_user, hold_users};
use super::{Store, What};

impl Store {
    /// Ends everything that was issued for a user, what could still be redeemed, and their browsers' sessions; `false` if
    /// there is no such user.
    pub async fn end_user(&self, user: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.end_user_once(user)).await
    }

    async fn end_user_once(&self, user: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !hold_user(&mut transaction, user).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.end_user_within(&mut transaction, user).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// As [`Store::end_user`], within a transaction that holds the user.
    pub(super) async fn end_user_within(&self, transaction: &mut Transaction, user: &str) -> Result<(), DbError> {
        self.end_kept(transaction, Some(user), None).await?;
        for table in ["uaa_passcodes", "uaa_sessions"] {
            let delete = sql(format!("delete from {table} where user_id = ?"));
            transaction.execute(delete.bind(user)).await?;
        }
        self.revoke_within(transaction, &[What::User(user.to_owned())]).await
    }

    /// Ends everything that was issued to a client, for itself and for its users; `false` if there is no such client.
    pub async fn end_client(&self, client: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.end_client_once(client)).await
    }

    async fn end_client_once(&self, client: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !hold_client(&mut transaction, client).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.end_client_within(&mut transaction, client).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// As [`Store::end_client`], within a transaction that holds the client.
    pub(super) async fn end_client_within(&self, transaction: &mut Transaction, client: &str) -> Result<(), DbError> {
        self.end_kept(transaction, None, Some(client)).await?;
        self.revoke_within(transaction, &[What::Client(client.to_owned())])
            .await
    }

    /// Ends what was issued for a user to one client; `false` if there is no such user.
    pub async fn end_user_of_client(&self, user: &str, client: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.end_user_of_client_once(user, client)).await
    }

    async fn end_user_of_client_once(&self, user: &str, client: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !hold_user(&mut transaction, user).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.end_kept(&mut transaction, Some(user), Some(client)).await?;
        let what = What::UserOfClient(user.to_owned(), client.to_owned());
        self.revoke_within(&mut transaction, &[what]).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Ends the access tokens of users whose groups became fewer. What else they have stays, and gives what is left.
    pub(super) async fn end_access_within(
        &self,
        transaction: &mut Transaction,
        users: BTreeSet<String>,
    ) -> Result<(), DbError> {
        hold_users(transaction, &users).await?;
        let list: Vec<What> = users.into_iter().map(What::User).collect();
        self.revoke_within(transaction, &list).await
    }

    /// Revokes everything that came of one login of a user; how many tokens that were.
    pub async fn end_family(&self, user: &str, family: &str) -> Result<u64, DbError> {
        weir_db::retrying(|| self.end_family_once(user, family)).await
    }

    async fn end_family_once(&self, user: &str, family: &str) -> Result<u64, DbError> {
        let mut transaction = self.db.begin().await?;
        // A token that is being renewed now is renewed before or not at all.
        hold_user(&mut transaction, user).await?;
        let update = sql("update uaa_refresh_tokens set revoked_at = ? where family = ? and revoked_at is null");
        let ended = transaction.execute(update.bind(self.now()).bind(family)).await?;
        transaction.commit().await?;
        Ok(ended)
    }

    /// Ends refresh tokens, and codes that nobody has redeemed. Codes that somebody has are kept: shown again they revoke
    /// what was issued for them.
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
