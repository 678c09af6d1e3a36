//! Users and their rows.

use serde::{Deserialize, Serialize};
use weir_db::{DbError, Executor, Row, Transaction, Value, sql};

use super::locks::{AS_OF, as_of, lock_user, revoked_since};
use super::{Store, TokenSet, lock_setting};

/// An email address of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The address.
    pub value: String,
    /// Whether tokens carry this address.
    #[serde(default)]
    pub primary: bool,
    /// The purpose of the address, such as `work`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The id, which never changes.
    pub id: String,
    /// The keeper of the user's password: `uaa`, or the name of a provider.
    pub origin: String,
    /// The name, which is unique within the origin without regard to case.
    pub user_name: String,
    /// The id of the user at the provider (`sub`).
    pub external_id: Option<String>,
    /// The first name.
    pub given_name: Option<String>,
    /// The last name.
    pub family_name: Option<String>,
    /// The email addresses.
    pub emails: Vec<Email>,
    /// The telephone numbers.
    pub phones: Vec<String>,
    /// Whether the user may log in.
    pub active: bool,
    /// Whether the email address was verified.
    pub verified: bool,
    /// The Argon2 hash of the password; `None` if there is none.
    pub password_hash: Option<String>,
    /// The time when the password was last set, in milliseconds since 1970.
    pub password_changed_at: Option<i64>,
    /// The time when the user was created, in milliseconds since 1970.
    pub created_at: i64,
    /// The time when the user was last changed, in milliseconds since 1970.
    pub modified_at: i64,
    /// The number of changes of the user.
    pub version: i64,
    /// The time of the last login, in milliseconds since 1970.
    pub last_logon: Option<i64>,
    /// The time of the login before the last, in milliseconds since 1970.
    pub previous_logon: Option<i64>,
    /// The number of the last revocation when this row was read. Tokens are issued only if the user has no later one.
    pub as_of: i64,
}

impl std::fmt::Debug for User {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("User")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

const COLUMNS: [&str; 22] = [
    "id",
    "origin",
    "user_name",
    "user_key",
    "external_id",
    "given_name",
    "given_key",
    "family_name",
    "family_key",
    "email",
    "email_key",
    "emails",
    "phones",
    "active",
    "verified",
    "password_hash",
    "password_changed_at",
    "created_at",
    "modified_at",
    "version",
    "last_logon",
    "previous_logon",
];

impl User {
    /// Returns the address that tokens carry. A user without an address has the user name there.
    pub fn email(&self) -> &str {
        let primary = self.emails.iter().find(|email| email.primary);
        primary
            .or(self.emails.first())
            .map_or(&self.user_name, |email| &email.value)
    }

    /// Returns the first and the last name, as far as they are known.
    pub fn full_name(&self) -> Option<String> {
        let parts: Vec<&str> = [&self.given_name, &self.family_name]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        let emails: String = row.get("emails")?;
        let phones: String = row.get("phones")?;
        Ok(Self {
            id: row.get("id")?,
            origin: row.get("origin")?,
            user_name: row.get("user_name")?,
            external_id: row.get("external_id")?,
            given_name: row.get("given_name")?,
            family_name: row.get("family_name")?,
            emails: serde_json::from_str(&emails).unwrap_or_default(),
            phones: serde_json::from_str(&phones).unwrap_or_default(),
            active: row.get("active")?,
            verified: row.get("verified")?,
            password_hash: row.get("password_hash")?,
            password_changed_at: row.get("password_changed_at")?,
            created_at: row.get("created_at")?,
            modified_at: row.get("modified_at")?,
            version: row.get("version")?,
            last_logon: row.get("last_logon")?,
            previous_logon: row.get("previous_logon")?,
            as_of: as_of(row)?,
        })
    }

    /// Returns the values of [`COLUMNS`].
    fn values(&self) -> Vec<Value> {
        let lower = |text: &Option<String>| text.as_ref().map(|text| key(text));
        let json = |result: Result<String, serde_json::Error>| result.expect("lists of texts are JSON");
        vec![
            (&self.id).into(),
            (&self.origin).into(),
            (&self.user_name).into(),
            key(&self.user_name).into(),
            self.external_id.clone().into(),
            self.given_name.clone().into(),
            lower(&self.given_name).into(),
            self.family_name.clone().into(),
            lower(&self.family_name).into(),
            self.email().into(),
            key(self.email()).into(),
            json(serde_json::to_string(&self.emails)).into(),
            json(serde_json::to_string(&self.phones)).into(),
            self.active.into(),
            self.verified.into(),
            self.password_hash.clone().into(),
            self.password_changed_at.into(),
            self.created_at.into(),
            self.modified_at.into(),
            self.version.into(),
            self.last_logon.into(),
            self.previous_logon.into(),
        ]
    }
}

/// Returns the form in which names and addresses are compared.
pub(super) fn key(text: &str) -> String {
    text.to_lowercase()
}

/// Returns the columns of a `select` from which a user is read.
fn columns() -> String {
    format!("{}, {AS_OF}", COLUMNS.join(", "))
}

impl Store {
    /// Returns the user with this id.
    pub async fn user(&self, id: &str) -> Result<Option<User>, DbError> {
        user(&mut &self.db, id).await
    }

    /// Returns the user of an origin with this name, without regard to case.
    pub async fn user_by_name(&self, origin: &str, name: &str) -> Result<Option<User>, DbError> {
        let query = sql(format!(
            "select {} from uaa_users where user_key = ? and origin = ?",
            columns()
        ));
        let row = self.db.first(query.bind(key(name)).bind(origin)).await?;
        row.as_ref().map(User::read).transpose()
    }

    /// Returns the user that the provider `origin` knows by this id.
    pub async fn user_by_external_id(&self, origin: &str, id: &str) -> Result<Option<User>, DbError> {
        let query = sql(format!(
            "select {} from uaa_users where external_id = ? and origin = ?",
            columns()
        ));
        let row = self.db.first(query.bind(id).bind(origin)).await?;
        row.as_ref().map(User::read).transpose()
    }

    /// Returns a page of the users that meet a condition of the filter parser, and the number of all that meet it.
    pub async fn users(
        &self,
        condition: &str,
        values: Vec<Value>,
        order: &str,
        start: i64,
        count: i64,
    ) -> Result<(Vec<User>, i64), DbError> {
        let total = sql(format!("select count(*) as n from uaa_users where {condition}")).bind_all(values.clone());
        let total = self.db.first(total).await?.map_or(Ok(0), |row| row.get("n"))?;
        let page = sql(format!(
            "select {} from uaa_users where {condition} order by {order}, id limit ? offset ?",
            columns()
        ));
        let page = page.bind_all(values).bind(count).bind(start);
        let users = self
            .db
            .all(page)
            .await?
            .iter()
            .map(User::read)
            .collect::<Result<_, _>>()?;
        Ok((users, total))
    }

    /// Adds a user. Fails with [`DbError::Duplicate`] if the name is in use.
    pub async fn add_user(&self, user: &User) -> Result<(), DbError> {
        let marks = vec!["?"; COLUMNS.len()].join(", ");
        let insert = sql(format!(
            "insert into uaa_users ({}) values ({marks})",
            COLUMNS.join(", ")
        ))
        .bind_all(user.values());
        self.db.execute(insert).await.map(drop)
    }

    /// Replaces version `of` of a user. Returns `false` if the user has another version. If the user becomes inactive, all tokens
    /// and sessions are revoked.
    pub async fn replace_user(&self, user: &User, of: i64) -> Result<bool, DbError> {
        weir_db::retrying(|| self.replace_user_once(user, of)).await
    }

    async fn replace_user_once(&self, user: &User, of: i64) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        let lock = transaction.dialect().for_update();
        let query = sql(format!(
            "select active from uaa_users where id = ? and version = ?{lock}"
        ));
        let Some(present) = transaction.first(query.bind(&user.id).bind(of)).await? else {
            transaction.rollback().await?;
            return Ok(false);
        };
        let assignments = COLUMNS[1..]
            .iter()
            .map(|name| format!("{name} = ?"))
            .collect::<Vec<_>>()
            .join(", ");
        let update = sql(format!("update uaa_users set {assignments} where id = ?"))
            .bind_all(user.values().into_iter().skip(1))
            .bind(&user.id);
        transaction.execute(update).await?;
        if present.get::<bool>("active")? && !user.active {
            self.end_user_within(&mut transaction, &user.id).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Sets the hash of a user's password, and revokes the user's tokens and sessions. Returns `false` if the user was removed or
    /// revoked since they were read: then the old password that the request showed may be wrong by now.
    pub async fn set_password(&self, user: &User, hash: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.set_password_once(user, hash)).await
    }

    async fn set_password_once(&self, user: &User, hash: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        let held = lock_user(&mut transaction, &user.id).await?;
        if !held || revoked_since(&mut transaction, user, None).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        let now = self.now();
        let update = sql(
            "update uaa_users set password_hash = ?, password_changed_at = ?, modified_at = ?, version = version + 1 \
             where id = ?",
        );
        transaction
            .execute(update.bind(hash).bind(now).bind(now).bind(&user.id))
            .await?;
        self.end_user_within(&mut transaction, &user.id).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Replaces the hash `old` by `fresh`, another hash of the same password. Does nothing if the user has another hash.
    pub async fn replace_hash(&self, id: &str, old: &str, fresh: &str) -> Result<(), DbError> {
        let update = sql("update uaa_users set password_hash = ? where id = ? and password_hash = ?");
        self.db.execute(update.bind(fresh).bind(id).bind(old)).await.map(drop)
    }

    /// Records a login of a user.
    pub async fn logged_on(&self, id: &str) -> Result<(), DbError> {
        let update = sql("update uaa_users set previous_logon = last_logon, last_logon = ? where id = ?");
        self.db.execute(update.bind(self.now()).bind(id)).await.map(drop)
    }

    /// Removes a user with their memberships, sessions and approvals, and revokes their tokens. Returns `false` if there is no
    /// such user.
    pub async fn remove_user(&self, id: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.remove_user_once(id)).await
    }

    async fn remove_user_once(&self, id: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        lock_setting(&mut transaction, "groups").await?;
        let groups = sql("update uaa_groups set version = version + 1 \
             where id in (select group_id from uaa_members where member_id = ?)");
        transaction.execute(groups.bind(id)).await?;
        if !lock_user(&mut transaction, id).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        for (table, column) in [
            ("uaa_members", "member_id"),
            ("uaa_refresh_tokens", "user_id"),
            ("uaa_codes", "user_id"),
            ("uaa_passcodes", "user_id"),
            ("uaa_sessions", "user_id"),
            ("uaa_approvals", "user_id"),
        ] {
            delete(&mut transaction, table, column, id).await?;
        }
        let removed = delete(&mut transaction, "uaa_users", "id", id).await?;
        self.revoke_within(&mut transaction, &[TokenSet::User(id.to_owned())])
            .await?;
        transaction.commit().await?;
        Ok(removed > 0)
    }
}

async fn delete(transaction: &mut Transaction, table: &str, column: &str, id: &str) -> Result<u64, DbError> {
    transaction
        .execute(sql(format!("delete from {table} where {column} = ?")).bind(id))
        .await
}

pub(super) async fn user(on: &mut impl Executor, id: &str) -> Result<Option<User>, DbError> {
    let query = sql(format!("select {} from uaa_users where id = ?", columns()));
    let row = on.first(query.bind(id)).await?;
    row.as_ref().map(User::read).transpose()
}
