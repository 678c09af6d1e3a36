//! Clients: programs that ask for tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_db::{DbError, Executor as _, Row, sql};

use super::Store;
use super::standing::{AS_OF, as_of, hold_client};

/// What stands in the place of a hash where the secret is the empty text, as for `cf`.
pub const EMPTY_SECRET: &str = "empty";

/// What stands in the place of a hash where no secret is right.
pub const NO_SECRET: &str = "none";

/// A client: a program that asks for tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// The name by which the client asks for tokens.
    pub id: String,
    /// The name that people see.
    pub name: Option<String>,
    /// [`EMPTY_SECRET`], [`NO_SECRET`] or an Argon2 hash.
    pub secret_hash: String,
    /// While a secret is being changed: the newer one.
    pub second_hash: Option<String>,
    /// What the client may do.
    pub detail: ClientDetail,
    /// When the client was made (milliseconds since 1970).
    pub created_at: i64,
    /// When the client was last changed (milliseconds since 1970).
    pub modified_at: i64,
    /// The number of the last revocation when this was read: what is issued rests on there being no later one.
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

/// What a client may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientDetail {
    /// The scopes that tokens of its users may have; `*` stands for one part of a name, at the end for all that follow.
    pub scope: Vec<String>,
    /// The scopes that its own tokens have.
    pub authorities: Vec<String>,
    /// The grants that the client may use.
    pub authorized_grant_types: Vec<String>,
    /// Where codes for the client may be sent.
    pub redirect_uri: Vec<String>,
    /// Which scopes its users need not agree to.
    pub auto_approve: AutoApprove,
    /// How long an access token is good for (seconds); `None` for as long as the configuration says.
    pub access_token_validity: Option<i64>,
    /// How long a refresh token is good for (seconds); `None` for as long as the configuration says.
    pub refresh_token_validity: Option<i64>,
    /// The origins whose users it takes; all if absent.
    pub allowed_providers: Option<Vec<String>>,
    /// Whether it may redeem codes without a secret, with PKCE.
    pub allow_public: bool,
    /// Only users who are in all of these groups may use it.
    pub required_user_groups: Vec<String>,
    /// What its makers wrote beside that: it is shown, and nothing here acts upon it.
    pub information: Map<String, Value>,
}

/// Which scopes a user need not agree to.
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
    /// Whether a user need not agree to this scope.
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
    /// Whether the client may use this grant.
    pub fn may(&self, grant_type: &str) -> bool {
        self.detail
            .authorized_grant_types
            .iter()
            .any(|known| known == grant_type)
    }

    /// Whether users of this origin may use it.
    pub fn takes(&self, origin: &str) -> bool {
        let allowed = self.detail.allowed_providers.as_ref();
        allowed.is_none_or(|allowed| allowed.iter().any(|known| known == origin))
    }

    /// Whether users with these groups may use it.
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

/// What a client is read from.
fn columns() -> String {
    format!("{}, {AS_OF}", COLUMNS.join(", "))
}

impl Store {
    /// The client with this id.
    pub async fn client(&self, id: &str) -> Result<Option<Client>, DbError> {
        let query = sql(format!("select {} from uaa_clients where id = ?", columns())).bind(id);
        self.db.first(query).await?.as_ref().map(Client::read).transpose()
    }

    /// A part of the clients that meet a condition made by the filter parser, and how many there are in all.
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

    /// Makes a client; `false` if there is one with its id.
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

    /// Writes a client, but for its secrets, over what was last modified at `of`; `false` if it was modified since then.
    /// The client's own time of modification must be a later one.
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

    /// Sets a client's secrets, if they are still what they were when it was read; `false` otherwise. Where `ends`, whoever
    /// had the old ones has nothing any more.
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

    /// Removes a client, and ends all that was issued to it; whether there was one.
    pub async fn remove_client(&self, id: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.remove_client_once(id)).await
    }

    async fn remove_client_once(&self, id: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        if !hold_client(&mut transaction, id).await? {
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
