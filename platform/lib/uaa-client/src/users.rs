//! Users, and what they may read.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_config::Secret;

use crate::{Admin, AdminError, escaped, quoted};

/// A user as the UAA shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserEntry {
    /// The user's id, which tokens carry as `user_id`.
    pub id: String,
    /// The user's name.
    pub user_name: String,
    /// Who keeps the user's password: `uaa`, or the name of a provider.
    pub origin: String,
    /// Whether the user may log in.
    pub active: bool,
    /// The names of the groups that the user is in.
    #[serde(default, deserialize_with = "names")]
    pub groups: Vec<String>,
}

/// A user to be made.
#[derive(Debug, Clone, Default)]
pub struct NewUser {
    /// The user's name.
    pub user_name: String,
    /// The user's password; none for users of a provider.
    pub password: Option<Secret<String>>,
    /// The user's address; the name stands for it if there is none.
    pub email: Option<String>,
    /// Who keeps the user's password; `uaa` if not said.
    pub origin: Option<String>,
}

/// `groups[].display`
fn names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Named {
        display: String,
    }
    Ok(Vec::<Named>::deserialize(deserializer)?
        .into_iter()
        .map(|group| group.display)
        .collect())
}

impl Admin {
    /// Returns all users.
    ///
    /// # Errors
    /// When this token may not see them.
    pub async fn users(&self) -> Result<Vec<UserEntry>, AdminError> {
        self.list("/Users", None).await
    }

    /// Returns the user of this name whose password the UAA keeps, or else the only one of that name.
    ///
    /// # Errors
    /// When there is none, or this token may not see it.
    pub async fn user(&self, user_name: &str) -> Result<UserEntry, AdminError> {
        let filter = format!("userName eq {}", quoted(user_name));
        let mut found: Vec<UserEntry> = self.list("/Users", Some(&filter)).await?;
        let ours = found.iter().position(|user| user.origin == "uaa");
        match (ours, found.len()) {
            (Some(index), _) => Ok(found.swap_remove(index)),
            (None, 1) => Ok(found.swap_remove(0)),
            _ => Err(AdminError::Missing {
                what: "user",
                name: user_name.to_owned(),
                alike: Vec::new(),
            }),
        }
    }

    /// Returns the ids of the sources that the bearer of this token may read, by its groups `logs.read.<source id>`.
    ///
    /// # Errors
    /// When the token does not count, or nobody answers.
    pub async fn rights(&self) -> Result<Vec<String>, AdminError> {
        #[derive(Deserialize)]
        struct Rights {
            sources: Vec<String>,
        }
        let rights: Rights = self.get("/weir/v1/rights").await?;
        Ok(rights.sources)
    }

    /// Makes a user.
    ///
    /// # Errors
    /// When the name is taken or not allowed, or the password is against the policy.
    pub async fn add_user(&self, user: &NewUser) -> Result<UserEntry, AdminError> {
        let mut body = json!({
            "userName": user.user_name,
            "emails": [{"value": user.email.as_ref().unwrap_or(&user.user_name), "primary": true}],
        });
        if let Some(password) = &user.password {
            body["password"] = password.expose().as_str().into();
        }
        if let Some(origin) = &user.origin {
            body["origin"] = origin.as_str().into();
        }
        self.send(Method::POST, "/Users", &body).await
    }

    /// Removes a user; all its tokens end.
    ///
    /// # Errors
    /// When there is none.
    pub async fn remove_user(&self, user_name: &str) -> Result<(), AdminError> {
        let user = self.user(user_name).await?;
        self.delete(&format!("/Users/{}", escaped(&user.id))).await
    }

    /// Sets a user's password; all its tokens end.
    ///
    /// # Errors
    /// When there is none, or the password is against the policy.
    pub async fn set_password(&self, user_name: &str, password: &Secret<String>) -> Result<(), AdminError> {
        let user = self.user(user_name).await?;
        let path = format!("/Users/{}/password", escaped(&user.id));
        let body = json!({ "password": password.expose() });
        let done: Result<Value, _> = self.send(Method::PUT, &path, &body).await;
        done.map(drop)
    }
}
