//! Clients: programs that request tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_db::{DbError, Executor as _, Row, sql};

use super::Store;
use super::locks::{AS_OF, as_of, lock_client};

/// The value in place of a hash if the secret is the empty text, as for the client `cf`.
pub const EMPTY_SECRET: &str = "empty";

/// The value in place of a hash if no secret is right.
pub const NO_SECRET: &str = "none";

/// A client: a program that requests tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// The id that the client sends when it requests a token.
    pub id: String,
    /// The name that users see.
    pub name: Option<String>,
    /// The Argon2 hash of the secret, or [`EMPTY_SECRET`] or [`NO_SECRET`].
    pub secret_hash: String,
    /// The hash of the newer of two secrets, while an operator replaces one by the other.
    pub second_hash: Option<String>,
    /// The permissions of the client.
    pub detail: ClientDetail,
    /// The time when the client was created, in milliseconds since 1970.
    pub created_at: i64,
    /// The time when the client was last changed, in milliseconds since 1970.
    pub modified_at: i64,
    /// The number of the last revocation when this row was read. Tokens are issued only if the client has no later one.
    pub as_of: i64,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Client")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The permissions of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientDetail {
    /// The scopes that tokens of the client's users may have. `*` stands for one part of a name, and at the end for all further
    /// parts.
    pub scope: Vec<String>,
    /// The scopes that the client's own tokens have.
    pub authorities: Vec<String>,
    /// The grants that the client may use.
    pub authorized_grant_types: Vec<String>,
    /// The URIs to which authorization codes for the client may be sent.
    pub redirect_uri: Vec<String>,
    /// The scopes that users need not approve.
    pub auto_approve: AutoApprove,
    /// The life time of an access token in seconds; `None`: the one of the configuration.
    pub access_token_validity: Option<i64>,
    /// The life time of a refresh token in seconds; `None`: the one of the configuration.
    pub refresh_token_validity: Option<i64>,
    /// The origins whose users may use the client; `None`: all.
    pub allowed_providers: Option<Vec<String>>,
    /// Whether the client may redeem codes without a secret, with PKCE.
    pub allow_public: bool,
    /// The groups that a user must all be in to use the client.
    pub required_user_groups: Vec<String>,
    /// Further members of the client's document. They are stored and returned, and have no effect.
    pub information: Map<String, Value>,
}

/// The scopes that users need not approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AutoApprove {
    /// All scopes, or none.
    Whole(bool),
    /// These scopes, or patterns of scopes.
    Scopes(Vec<String>),
}

impl Default for AutoApprove {
    fn default() -> Self {
        Self::Scopes(Vec::new())
    }
}

impl AutoApprove {
    /// Whether a user need not approve this scope.
    pub fn covers(&self, scope: &str) -> bool {
        match self {
            Self::Whole(whole) => *whole,
            Self::Scopes(scopes) => scopes
                .iter()
                .any(|known| known == "true" || crate::scopes::agrees(known, scope)),
        }
    }
}

impl Client {
    /// Whether the client may use this grant type.
    pub fn may(&self, grant_type: &str) -> bool {
        self.detail
            .authorized_grant_types
            .iter()
            .any(|known| known == grant_type)
    }

    /// Whether users of this origin may use the client.
    pub fn accepts_origin(&self, origin: &str) -> bool {
        let allowed = self.detail.allowed_providers.as_ref();
        allowed.is_none_or(|allowed| allowed.iter().any(|known| known == origin))
    }

    /// Whether users with these groups may use the client.
    pub fn admits(&self, groups: &BTreeSet<String>) -> bool {
        self.detail
            .required_user_groups
            .iter()
            .all(|group| groups.contains(group))
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        let detail: String = row.get("detail")?;
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            secret_hash: row
                .get::<Option<String>>("secret_hash")?
                .unwrap_or_else(|| NO_SECRET.to_owned()),
            second_hash: row.get("second_hash")?,
            // A damaged row becomes a client without permissions.
            detail: serde_json::from_str(&detail).unwrap_or_default(),
            created_at: row.get("created_at")?,
            modified_at: row.get("modified_at")?,
            as_of: as_of(row)?,
        })
    }

    fn detail_text(&self) -> String {
        serde_json::to_string(&self.detail).expect("lists of texts are JSON")
    }
}

const COLUMNS: [&str; 7] = [
    "id",
    "name",
    "secret_hash",
    "second_hash",
    "detail",
    "created_at",
    "modified_at",
];

/// Returns the columns of a `select` from which a client is read.
fn columns() -> String {
    format!("{}, {AS_OF}", COLUMNS.join(", "))
}

impl Store {
    /// Returns the client with this id.
    pub async fn client(&self, id: &str) -> Result<Option<Client>, DbError> {
        let query = sql(format!("select {} from uaa_clients where id = ?", columns())).bind(id);
        self.db.first(query).await?.as_ref().map(Client::read).transpose()
    }

    /// Returns a page of the clients that meet a condition of the filter parser, and the number of all that meet it.
    pub async fn clients(
        &self,
        condition: &str,
        values: Vec<weir_db::Value>,
        order: &str,
        start: i64,
        count: i64,
    ) -> Result<(Vec<Client>, i64), DbError> {
        let total = sql(format!("select count(*) as n from uaa_clients where {condition}")).bind_all(values.clone());
        let total = self.db.first(total).await?.map_or(Ok(0), |row| row.get("n"))?;
        let page = sql(format!(
            "select {} from uaa_clients where {condition} order by {order}, id limit ? offset ?",
            columns()
        ));
        let rows = self.db.all(page.bind_all(values).bind(count).bind(start)).await?;
        Ok((rows.iter().map(Client::read).collect::<Result<_, _>>()?, total))
    }

    /// Adds a client. Returns `false` if the id is in use.
    pub async fn add_client(&self, client: &Client) -> Result<bool, DbError> {
        let values = vec![
            (&client.id).into(),
            client.name.clone().into(),
            (&client.secret_hash).into(),
            client.second_hash.clone().into(),
            client.detail_text().into(),
            client.created_at.into(),
            client.modified_at.into(),
        ];
        (&self.db).insert_new("uaa_clients", &COLUMNS, values).await
    }

    /// Replaces a client, except for its secrets, if it was last modified at `of`. Returns `false` if it was modified later.
    /// `client.modified_at` must be later than `of`.
    pub async fn replace_client(&self, client: &Client, of: i64) -> Result<bool, DbError> {
        let update =
            sql("update uaa_clients set name = ?, detail = ?, modified_at = ? where id = ? and modified_at = ?")
                .bind(client.name.clone())
                .bind(client.detail_text())
                .bind(client.modified_at)
                .bind(&client.id)
                .bind(of);
        Ok(self.db.execute(update).await? > 0)
    }

    /// Sets a client's secrets. Returns `false` if they were changed since the client was read. With `ends`, all tokens of the
    /// client are revoked.
    pub async fn change_client_secrets(
        &self,
        client: &Client,
        first: &str,
        second: Option<&str>,
        ends: bool,
    ) -> Result<bool, DbError> {
        weir_db::retrying(|| self.change_client_secrets_once(client, first, second, ends)).await
    }

    async fn change_client_secrets_once(
        &self,
        client: &Client,
        first: &str,
        second: Option<&str>,
        ends: bool,
    ) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        // Without the lock, two changes at the same time could both find the old secrets, and one of them would be lost.
        let lock = transaction.dialect().for_update();
        let query = sql(format!(
            "select secret_hash, second_hash from uaa_clients where id = ?{lock}"
        ));
        let present = match transaction.first(query.bind(&client.id)).await? {
            Some(row) => {
                let (first, second): (Option<String>, Option<String>) =
                    (row.get("secret_hash")?, row.get("second_hash")?);
                first.as_deref().unwrap_or(NO_SECRET) == client.secret_hash && second == client.second_hash
            }
            None => false,
        };
        if !present {
            transaction.rollback().await?;
            return Ok(false);
        }
        let update = sql("update uaa_clients set secret_hash = ?, second_hash = ?, modified_at = ? where id = ?");
        let update = update.bind(first).bind(second).bind(self.now()).bind(&client.id);
        transaction.execute(update).await?;
        if ends {
            self.end_client_within(&mut transaction, &client.id).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Removes a client, and revokes all that was issued to it. Returns `false` if there is no such client.
    pub async fn remove_client(&self, id: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.remove_client_once(id)).await
    }

    async fn remove_client_once(&self, id: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !lock_client(&mut transaction, id).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.end_client_within(&mut transaction, id).await?;
        for table in ["uaa_refresh_tokens", "uaa_codes", "uaa_approvals"] {
            transaction
                .execute(sql(format!("delete from {table} where client_id = ?")).bind(id))
                .await?;
        }
        let removed = transaction
            .execute(sql("delete from uaa_clients where id = ?").bind(id))
            .await?;
        transaction.commit().await?;
        Ok(removed > 0)
    }
}
