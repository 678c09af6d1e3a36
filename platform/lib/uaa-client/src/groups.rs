//! Groups, and who is in them.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Admin, AdminError, escaped, quoted};

/// A group as the UAA shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupEntry {
    /// The group's id.
    pub id: String,
    /// The group's name, which is the scope that it gives.
    pub display_name: String,
    /// The purpose of the group, in words.
    pub description: Option<String>,
    /// The users and groups that are in it.
    #[serde(default)]
    pub members: Vec<MemberEntry>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MemberEntry {
    /// The id of a user or a group.
    pub value: String,
    /// `USER` or `GROUP`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Admin {
    /// Returns all groups.
    ///
    /// # Errors
    /// When this token may not see them.
    pub async fn groups(&self) -> Result<Vec<GroupEntry>, AdminError> {
        self.list("/Groups", None).await
    }

    /// Returns the group of exactly this name. A UAA may find others too, whose names differ by their case: those are other
    /// scopes, and give access to something else.
    ///
    /// # Errors
    /// When there is none.
    pub async fn group(&self, name: &str) -> Result<GroupEntry, AdminError> {
        let filter = format!("displayName eq {}", quoted(name));
        let mut found: Vec<GroupEntry> = self.list("/Groups", Some(&filter)).await?;
        match found.iter().position(|group| group.display_name == name) {
            Some(index) => Ok(found.swap_remove(index)),
            None => Err(AdminError::Missing {
                what: "group",
                name: name.to_owned(),
                alike: found.into_iter().map(|group| group.display_name).collect(),
            }),
        }
    }

    /// Makes a group.
    ///
    /// # Errors
    /// When the name is taken or not allowed.
    pub async fn add_group(&self, name: &str, description: Option<&str>) -> Result<GroupEntry, AdminError> {
        let body = json!({"displayName": name, "description": description});
        self.send(Method::POST, "/Groups", &body).await
    }

    /// Removes a group.
    ///
    /// # Errors
    /// When there is none.
    pub async fn remove_group(&self, name: &str) -> Result<(), AdminError> {
        let group = self.group(name).await?;
        self.delete(&format!("/Groups/{}", escaped(&group.id))).await
    }

    /// Puts a user into a group, both by name. One that is in it already stays in it, and no login by a provider changes
    /// that: the membership is ours, whosever the user is.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub async fn add_member(&self, group: &str, user_name: &str) -> Result<(), AdminError> {
        let (group, user) = (self.group(group).await?, self.user(user_name).await?);
        let body = json!({"value": user.id, "type": "USER", "origin": "uaa"});
        let path = format!("/Groups/{}/members", escaped(&group.id));
        let added: Result<Value, _> = self.send(Method::POST, &path, &body).await;
        match added {
            Err(AdminError::Refused { status, .. }) if status == StatusCode::CONFLICT => Ok(()),
            other => other.map(drop),
        }
    }

    /// Takes a user out of a group, both by name; tokens that say otherwise end.
    ///
    /// # Errors
    /// When one of them does not exist, or the user is not in it.
    pub async fn remove_member(&self, group: &str, user_name: &str) -> Result<(), AdminError> {
        let (group, user) = (self.group(group).await?, self.user(user_name).await?);
        self.delete(&format!("/Groups/{}/members/{}", escaped(&group.id), escaped(&user.id)))
            .await
    }

    /// Puts a user into a group, which is made if there is none of that name.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn ensure_member(&self, group: &str, user_name: &str) -> Result<(), AdminError> {
        match self.group(group).await {
            Ok(_) => {}
            Err(AdminError::Missing { .. }) => match self.add_group(group, None).await {
                Ok(_) => {}
                // By somebody else just now, or by a name that differs by its case: that one is not what was meant.
                Err(AdminError::Refused { status, .. }) if status == StatusCode::CONFLICT => {
                    self.group(group).await?;
                }
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
        self.add_member(group, user_name).await
    }
}
