//! Users, groups and clients, over UAA's SCIM API, as the administrator of the stack.
//!
//! Whoever can read the state directory is the operator: the secret of the client `admin` lies there. It stays right when
//! somebody changes the first user's password.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_error::ErrorKind;

use super::{Uaa, Unanswered};
use crate::client::Stack;
use crate::failure::Failure;
use crate::state::StateDir;

/// The client that may administrate.
const ADMIN: &str = "admin";
/// Where users come from whose password UAA keeps.
const OURS: &str = "uaa";
/// Of one answer.
const PAGE: usize = 100;
/// Nobody reads a longer list; and a server that counts wrongly does not keep us for ever.
const MOST: usize = 1_000_000;

/// The groups that every user is in: they tell nobody apart.
pub(crate) const EVERYBODY: [&str; 14] = [
    "approvals.me",
    "cloud_controller.read",
    "cloud_controller.write",
    "cloud_controller_service_permissions.read",
    "oauth.approvals",
    "openid",
    "password.write",
    "profile",
    "roles",
    "scim.me",
    "scim.userids",
    "uaa.offline_token",
    "uaa.user",
    "user_attributes",
];

/// A user as UAA tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) user_name: String,
    #[serde(default)]
    pub(crate) origin: String,
    #[serde(default = "yes")]
    pub(crate) active: bool,
    #[serde(default)]
    groups: Vec<Membership>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Membership {
    display: String,
}

const fn yes() -> bool {
    true
}

impl User {
    /// The groups that not everybody is in.
    pub(crate) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self
            .groups
            .iter()
            .map(|group| group.display.as_str())
            .filter(|group| !EVERYBODY.contains(group))
            .collect();
        groups.sort_unstable();
        groups
    }
}

/// A group as UAA tells it; its name is the scope that its members have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) display_name: String,
    #[serde(default)]
    pub(crate) members: Vec<Member>,
}

/// Who is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// The id of a user or of a group.
    pub(crate) value: String,
}

/// A client as UAA tells it: no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) client_id: String,
    #[serde(default)]
    pub(crate) authorized_grant_types: Vec<String>,
    #[serde(default)]
    pub(crate) scope: Vec<String>,
    #[serde(default)]
    pub(crate) authorities: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) redirect_uri: Vec<String>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    resources: Vec<T>,
    #[serde(default)]
    total_results: usize,
}

/// UAA, with the right to change who there is.
#[derive(Debug)]
pub(crate) struct Administrator {
    uaa: Uaa,
    token: String,
}

impl Administrator {
    /// The administrator of the stack in `state`, which must be running.
    pub(crate) async fn of(state: &StateDir) -> Result<Self, Failure> {
        let stack = Stack::find(state)?;
        let uaa = Uaa::of(&stack)?;
        let secret = secret(state)?;
        let tokens = uaa.client_credentials(ADMIN, &secret).await.map_err(|unanswered| {
            let denied = unanswered.status() == Some(StatusCode::UNAUTHORIZED);
            let failure = unanswered.of(format_args!("client `{ADMIN}`"));
            if denied {
                failure.with_hint(format!(
                    "its secret was changed: write the new one into `{}`",
                    state.client_secrets().display()
                ))
            } else {
                failure
            }
        })?;
        Ok(Self {
            uaa,
            token: tokens.access_token,
        })
    }

    /// All users, by name.
    pub(crate) async fn users(&self) -> Result<Vec<User>, Failure> {
        let mut users: Vec<User> = self.list("/Users", None).await.map_err(|error| error.of("users"))?;
        users.sort_by(|one, other| (&one.user_name, &one.origin).cmp(&(&other.user_name, &other.origin)));
        Ok(users)
    }

    /// The user of this name whose password UAA keeps.
    pub(crate) async fn user(&self, name: &str) -> Result<User, Failure> {
        let filter = format!("userName eq {} and origin eq {}", quoted(name), quoted(OURS));
        let found: Vec<User> = self
            .list("/Users", Some(&filter))
            .await
            .map_err(|error| error.of(format_args!("user `{name}`")))?;
        found.into_iter().next().ok_or_else(|| {
            Failure::new(ErrorKind::NotFound, format!("user `{name}`: there is none of that name"))
                .with_hint("`weir user list` shows all")
        })
    }

    /// Makes a user.
    pub(crate) async fn add_user(&self, name: &str, password: &str, email: &str) -> Result<User, Failure> {
        let user = json!({
            "userName": name,
            "password": password,
            "origin": OURS,
            "name": { "givenName": name, "familyName": name },
            "emails": [{ "value": email, "primary": true }],
            "active": true,
            "verified": true,
        });
        let subject = format!("user `{name}`");
        let made = self.call(Method::POST, "/Users", Some(&user)).await;
        let made = made.map_err(|error| match error.status() {
            Some(StatusCode::CONFLICT) => Failure::new(ErrorKind::Conflict, format!("{subject}: exists already"))
                .with_hint(format!(
                    "put it into a group with `weir group add GROUP --user {name}`, or remove it first"
                )),
            _ => error.of(&subject),
        })?;
        parsed(&subject, made)
    }

    /// Removes a user, with all tokens of theirs.
    pub(crate) async fn remove_user(&self, user: &User) -> Result<(), Failure> {
        let path = format!("/Users/{}", encoded(&user.id));
        self.done(Method::DELETE, &path, format_args!("user `{}`", user.user_name))
            .await
    }

    /// Gives a user another password.
    pub(crate) async fn set_password(&self, user: &User, password: &str) -> Result<(), Failure> {
        let path = format!("/Users/{}/password", encoded(&user.id));
        let body = json!({ "password": password });
        self.call(Method::PUT, &path, Some(&body))
            .await
            .map(drop)
            .map_err(|error| error.of(format_args!("password of `{}`", user.user_name)))
    }

    /// All groups, by name.
    pub(crate) async fn groups(&self) -> Result<Vec<Group>, Failure> {
        let mut groups: Vec<Group> = self.list("/Groups", None).await.map_err(|error| error.of("groups"))?;
        groups.sort_by(|one, other| one.display_name.cmp(&other.display_name));
        Ok(groups)
    }

    /// The group of this name, if there is one.
    pub(crate) async fn find_group(&self, name: &str) -> Result<Option<Group>, Failure> {
        let filter = format!("displayName eq {}", quoted(name));
        let found: Vec<Group> = self
            .list("/Groups", Some(&filter))
            .await
            .map_err(|error| error.of(format_args!("group `{name}`")))?;
        Ok(found.into_iter().next())
    }

    /// The group of this name.
    pub(crate) async fn group(&self, name: &str) -> Result<Group, Failure> {
        self.find_group(name).await?.ok_or_else(|| {
            Failure::new(ErrorKind::NotFound, format!("group `{name}`: there is none of that name"))
                .with_hint("`weir group list` shows all")
        })
    }

    /// The group of this name, made if it was not there; and whether it was made.
    pub(crate) async fn ensure_group(&self, name: &str) -> Result<(Group, bool), Failure> {
        if let Some(group) = self.find_group(name).await? {
            return Ok((group, false));
        }
        let subject = format!("group `{name}`");
        let body = json!({ "displayName": name });
        match self.call(Method::POST, "/Groups", Some(&body)).await {
            Ok(made) => Ok((parsed(&subject, made)?, true)),
            // Somebody else was faster.
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => Ok((self.group(name).await?, false)),
            Err(error) => Err(error.of(&subject)),
        }
    }

    /// Removes a group; its members lose the scope.
    pub(crate) async fn remove_group(&self, group: &Group) -> Result<(), Failure> {
        let path = format!("/Groups/{}", encoded(&group.id));
        self.done(Method::DELETE, &path, format_args!("group `{}`", group.display_name))
            .await
    }

    /// Puts a user into a group; whoever is in it stays in it.
    pub(crate) async fn join(&self, group: &Group, user: &User) -> Result<(), Failure> {
        let path = format!("/Groups/{}/members", encoded(&group.id));
        let member = json!({ "origin": user.origin, "type": "USER", "value": user.id });
        match self.call(Method::POST, &path, Some(&member)).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => Ok(()),
            Err(error) => Err(error.of(format_args!("`{}` in `{}`", user.user_name, group.display_name))),
        }
    }

    /// Takes a user out of a group.
    pub(crate) async fn leave(&self, group: &Group, user: &User) -> Result<(), Failure> {
        let path = format!("/Groups/{}/members/{}", encoded(&group.id), encoded(&user.id));
        let subject = format!("`{}` in `{}`", user.user_name, group.display_name);
        self.done(Method::DELETE, &path, subject).await
    }

    /// All clients, by id.
    pub(crate) async fn clients(&self) -> Result<Vec<Client>, Failure> {
        let listed = self.list("/oauth/clients", None).await;
        let mut clients: Vec<Client> = listed.map_err(|error| error.of("clients"))?;
        clients.sort_by(|one, other| one.client_id.cmp(&other.client_id));
        Ok(clients)
    }

    /// Makes a client.
    pub(crate) async fn add_client(&self, client: &Client, secret: &str, autoapprove: bool) -> Result<(), Failure> {
        let subject = format!("client `{}`", client.client_id);
        let mut body =
            serde_json::to_value(client).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        body["client_secret"] = secret.into();
        body["autoapprove"] = autoapprove.into();
        let made = self.call(Method::POST, "/oauth/clients", Some(&body)).await;
        made.map(drop).map_err(|error| match error.status() {
            Some(StatusCode::CONFLICT) => Failure::new(ErrorKind::Conflict, format!("{subject}: exists already"))
                .with_hint("choose another id, or remove it first with `weir client remove`"),
            _ => error.of(subject),
        })
    }

    /// Removes a client, with all tokens that were issued to it.
    pub(crate) async fn remove_client(&self, id: &str) -> Result<(), Failure> {
        let path = format!("/oauth/clients/{}", encoded(id));
        match self.call(Method::DELETE, &path, None).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Err(Failure::new(
                ErrorKind::NotFound,
                format!("client `{id}`: there is none of that id"),
            )
            .with_hint("`weir client list` shows all")),
            Err(error) => Err(error.of(format_args!("client `{id}`"))),
        }
    }

    /// Everything of a list, page by page.
    async fn list<T: DeserializeOwned>(&self, path: &str, filter: Option<&str>) -> Result<Vec<T>, Unanswered> {
        let mut all = Vec::new();
        loop {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("startIndex", &(all.len() + 1).to_string());
            query.append_pair("count", &PAGE.to_string());
            if let Some(filter) = filter {
                query.append_pair("filter", filter);
            }
            let path = format!("{path}?{}", query.finish());
            let answer = self.call(Method::GET, &path, None).await?;
            let page: Page<T> = parsed("list", answer)?;
            let got = page.resources.len();
            all.extend(page.resources);
            if got == 0 || all.len() >= page.total_results || all.len() >= MOST {
                return Ok(all);
            }
        }
    }

    async fn done(&self, method: Method, path: &str, subject: impl std::fmt::Display) -> Result<(), Failure> {
        let done = self.call(method, path, None).await;
        done.map(drop).map_err(|error| error.of(subject))
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Unanswered> {
        self.uaa.call(&self.token, method, path, body).await
    }
}

/// The secret of the administrating client.
fn secret(state: &StateDir) -> Result<String, Failure> {
    let path = state.client_secrets();
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            ErrorKind::NotFound,
            format!("stack in `{}`: has no clients yet", state.root().display()),
        )
        .with_hint(format!(
            "`weir{} up` makes them at its first start",
            state.as_flag()
        )),
        _ => Failure::file(&path, &error),
    })?;
    let secrets: Option<BTreeMap<String, String>> = serde_json::from_str(&text).ok();
    secrets.and_then(|mut secrets| secrets.remove(ADMIN)).ok_or_else(|| {
        Failure::new(
            ErrorKind::InvalidInput,
            format!("`{}`: has no secret of client `{ADMIN}`", path.display()),
        )
        .with_hint("restore it from a backup, or write a secret for `admin` into it and start the stack again")
    })
}

fn parsed<T: DeserializeOwned>(subject: &str, answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::new(
            ErrorKind::Internal,
            format!("{subject}: UAA's answer cannot be read: {error}"),
        )
    })
}

/// A text in a SCIM filter.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A part of a path.
fn encoded(part: &str) -> String {
    // As in a form, but for the space, which a path writes otherwise.
    let text: String = form_urlencoded::byte_serialize(part.as_bytes()).collect();
    text.replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing that a name holds ends the text or the path around it.
    #[test]
    fn names_stay_inside() {
        assert_eq!(quoted(r#"a" or "1" eq "1"#), r#""a\" or \"1\" eq \"1""#);
        assert_eq!(quoted(r"a\"), r#""a\\""#);
        assert_eq!(encoded("../a b+c?x=ä"), "..%2Fa%20b%2Bc%3Fx%3D%C3%A4");
    }

    /// What everybody is in tells nothing about anybody.
    #[test]
    fn groups_tell_apart() {
        let user: User = serde_json::from_value(json!({
            "id": "1", "userName": "alice", "origin": "uaa", "meta": {"version": 0},
            "groups": [{"value": "2", "display": "openid", "type": "DIRECT"}, {"value": "3", "display": "logs.read.web"},
                       {"value": "4", "display": "doppler.firehose"}],
        }))
        .expect("a user");
        assert_eq!(user.groups(), ["doppler.firehose", "logs.read.web"]);
        assert!(user.active);
    }

    /// The secret is found, or the way out is said; what the file holds is not repeated.
    #[test]
    fn the_secret_is_found() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        assert_eq!(secret(&state).expect_err("absent").kind(), ErrorKind::NotFound);
        fs::create_dir_all(state.uaa()).expect("made");
        fs::write(state.client_secrets(), r#"{"admin":"s3cret","doppler":"x"}"#).expect("written");
        assert_eq!(secret(&state).expect("there"), "s3cret");
        fs::write(state.client_secrets(), r#"{"doppler":"hidden"}"#).expect("written");
        let failure = secret(&state).expect_err("none").to_string();
        assert!(failure.contains("write a secret for `admin`") && !failure.contains("hidden"), "{failure}");
    }
}
