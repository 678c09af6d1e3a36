//! Users.

use serde::{Deserialize, Serialize};
use weir_db::{DbError, Executor, Row, Transaction, Value, sql};

use super::standing::{AS_OF, as_of, hold_user, revoked_since};
use super::{Store, What, hold};

/// One address of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The address itself.
    pub value: String,
    /// Whether this is the address that tokens carry.
    #[serde(default)]
    pub primary: bool,
    /// What it is for, such as `work`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The id, which never changes.
    pub id: String,
    /// Whose the password is: `uaa` for ours, else the name of a provider.
    pub origin: String,
    /// The name, unique within the origin whatever its case.
    pub user_name: String,
    /// The provider's name for the user (`sub`).
    pub external_id: Option<String>,
    /// The first name.
    pub given_name: Option<String>,
    /// The last name.
    pub family_name: Option<String>,
    /// The addresses.
    pub emails: Vec<Email>,
    /// The telephone numbers.
    pub phones: Vec<String>,
    /// Whether the user may log in.
    pub active: bool,
    /// Whether the address is known to be the user's.
    pub verified: bool,
    /// The Argon2 hash of the password; `None` if there is none.
    pub password_hash: Option<String>,
    /// When the password was last set (milliseconds since 1970).
    pub password_changed_at: Option<i64>,
    /// When the user was made (milliseconds since 1970).
    pub created_at: i64,
    /// When the user was last changed (milliseconds since 1970).
    pub modified_at: i64,
    /// How often the user was changed.
    pub version: i64,
    /// When the user last logged in (milliseconds since 1970).
    pub last_logon: Option<i64>,
    /// When the user logged in before that (milliseconds since 1970).
    pub previous_logon: Option<i64>,
    /// The number of the last revocation when this was read: what is issued rests on there being no later one.
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
    /// The address that tokens carry.
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

    /// The values of [`COLUMNS`].
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

/// The form in which names and addresses are compared.
pub(super) fn key(text: &str) -> String {
    text.to_lowercase()
}

/// What a user is read from.
fn columns() -> String {
    format!("{}, {AS_OF}", COLUMNS.join(", "))
}

impl Store {
    /// The user with this id.
    pub async fn user(&self, id: &str) -> Result<Option<User>, DbError> {
        user(&mut &self.db, id).await
    }

    /// The user with this name, whatever its case.
    pub async fn user_by_name(&self, origin: &str, name: &str) -> Result<Option<User>, DbError> {
        let query = sql(format!(
            "select {} from uaa_users where user_key = ? and origin = ?",
            columns()
        ));
        let row = self.db.first(query.bind(key(name)).bind(origin)).await?;
        row.as_ref().map(User::read).transpose()
    }

    /// The user that a provider knows by this id.
    pub async fn user_by_external_id(&self, origin: &str, id: &str) -> Result<Option<User>, DbError> {
        let query = sql(format!(
            "select {} from uaa_users where external_id = ? and origin = ?",
            columns()
        ));
        let row = self.db.first(query.bind(id).bind(origin)).await?;
        row.as_ref().map(User::read).transpose()
    }

    /// A part of the users that meet a condition made by the filter parser, and how many there are in all.
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

    /// Makes a user; [`DbError::Duplicate`] if the name is taken.
    pub async fn add_user(&self, user: &User) -> Result<(), DbError> {
        let marks = vec!["?"; COLUMNS.len()].join(", ");
        let insert = sql(format!(
            "insert into uaa_users ({}) values ({marks})",
            COLUMNS.join(", ")
        ))
        .bind_all(user.values());
        self.db.execute(insert).await.map(drop)
    }

    /// Writes a user over its version `of`; `false` if it has another by now. Who becomes inactive has nothing any more.
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

    /// Sets a password's hash and ends what the old one opened; `false` if that happened to the user since they were read,
    /// or they are gone: the old password, as it was shown, may not be theirs any more.
    pub async fn set_password(&self, user: &User, hash: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.set_password_once(user, hash)).await
    }

    async fn set_password_once(&self, user: &User, hash: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        let held = hold_user(&mut transaction, &user.id).await?;
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

    /// Puts another hash of the same password in the place of this one, if it is still there.
    pub async fn replace_hash(&self, id: &str, old: &str, fresh: &str) -> Result<(), DbError> {
        let update = sql("update uaa_users set password_hash = ? where id = ? and password_hash = ?");
        self.db.execute(update.bind(fresh).bind(id).bind(old)).await.map(drop)
    }

    /// Notes that a user has logged in.
    pub async fn logged_on(&self, id: &str) -> Result<(), DbError> {
        let update = sql("update uaa_users set previous_logon = last_logon, last_logon = ? where id = ?");
        self.db.execute(update.bind(self.now()).bind(id)).await.map(drop)
    }

    /// Removes a user and all that is theirs, and ends what was issued; whether there was one.
    pub async fn remove_user(&self, id: &str) -> Result<bool, DbError> {
        weir_db::retrying(|| self.remove_user_once(id)).await
    }

    async fn remove_user_once(&self, id: &str) -> Result<bool, DbError> {
        let mut transaction = self.db.begin().await?;
        hold(&mut transaction, "groups").await?;
        let groups = sql("update uaa_groups set version = version + 1 \
             where id in (select group_id from uaa_members where member_id = ?)");
        transaction.execute(groups.bind(id)).await?;
        if !hold_user(&mut transaction, id).await? {
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
        self.revoke_within(&mut transaction, &[What::User(id.to_owned())])
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
