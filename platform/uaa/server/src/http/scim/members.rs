//! `/Groups/:id/members`

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::login::OURS;
use weir_platform_uaa_store::{Member, MemberKind};

use super::body;
use super::groups::{bounded, find};
use super::users;
use crate::http::error::shown;
use crate::http::form::Form;
use crate::http::unread::{self, Unread};
use crate::http::{ApiError, bearer};

/// A member as clients write it.
#[derive(Deserialize)]
pub(super) struct WrittenMember {
    pub(super) value: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    origin: Option<String>,
    operation: Option<String>,
}

impl WrittenMember {
    pub(super) fn is_removed(&self) -> bool {
        self.operation
            .as_deref()
            .is_some_and(|operation| operation.eq_ignore_ascii_case("delete"))
    }

    pub(super) fn names_origin(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| !origin.is_empty())
    }

    /// What is to be done with it is said in a `PATCH` alone, and is `delete` or nothing.
    pub(super) fn check_operation(&self) -> Result<(), ApiError> {
        match self.operation.as_deref() {
            None | Some("") => Ok(()),
            Some(other) => Err(ApiError::invalid_scim(format!(
                "The operation {} of a member must be \"delete\", in a PATCH",
                shown(other)
            ))),
        }
    }
}

/// `GET /Groups/:id/members`
pub(crate) async fn list(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    bearer::caller_with(&app, &headers, &["scim.read"]).await?;
    let query = Form::query(query.as_deref())?;
    if query.filled("filter").is_some() {
        return Err(ApiError::invalid_scim(
            "The members of a group are not filtered: leave filter out",
        ));
    }
    find(&app, &id).await?;
    let mut list = Vec::new();
    for member in app.store.members(&id).await? {
        let mut document = member_document(&member);
        if query.filled("returnEntities") == Some("true")
            && member.kind == MemberKind::User
            && let Some(user) = app.store.user(&member.id).await?
        {
            document["entity"] = users::document(&app, &user).await?;
        }
        list.push(document);
    }
    Ok(Json(list.into()))
}

/// `GET /Groups/:id/members/:id`
pub(crate) async fn get(
    State(app): State<App>,
    Path((id, member)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    bearer::caller_with(&app, &headers, &["scim.read"]).await?;
    find(&app, &id).await?;
    let members = app.store.members(&id).await?;
    let found = members.iter().find(|known| known.id == member);
    let found = found.ok_or_else(|| ApiError::scim_not_found("Member", &member))?;
    Ok(Json(member_document(found)))
}

/// `POST /Groups/:id/members`
pub(crate) async fn add(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Unread,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write", "groups.update"]).await?;
    let written: WrittenMember = body::json(body.within(unread::SMALL).await?)?;
    let group = find(&app, &id).await?;
    let members = members_of(&app, vec![written], &id).await?;
    let member = members
        .first()
        .ok_or_else(|| ApiError::invalid_scim("A member must be named"))?;
    let added = app.store.add_member(&id, member).await?
        // Who says that it is ours to give takes it from the provider.
        || (member.origin == OURS && app.store.claim_member(&id, &member.id, OURS).await?);
    if !added {
        find(&app, &id).await?;
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "member_already_exists",
            format!("The group {} has this member already", group.display_name),
        ));
    }
    tracing::info!(
        caller = caller.name(),
        group = group.display_name,
        member = member.id,
        "a member was added"
    );
    Ok((StatusCode::CREATED, Json(member_document(member))))
}

/// `DELETE /Groups/:id/members/:id`
pub(crate) async fn remove(
    State(app): State<App>,
    Path((id, member)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write", "groups.update"]).await?;
    let group = find(&app, &id).await?;
    let members = app.store.members(&id).await?;
    let found = members.iter().find(|known| known.id == member);
    let found = found.ok_or_else(|| ApiError::scim_not_found("Member", &member))?;
    if !app.store.remove_member(&id, &member).await? {
        return Err(ApiError::scim_not_found("Member", &member));
    }
    app.revoked.catch_up().await;
    tracing::info!(
        caller = caller.name(),
        group = group.display_name,
        member,
        "a member was removed"
    );
    Ok(Json(member_document(found)))
}

/// Members that exist and may be in this group.
pub(super) async fn members_of(app: &App, written: Vec<WrittenMember>, group: &str) -> Result<Vec<Member>, ApiError> {
    bounded(written.len())?;
    let mut members: Vec<Member> = Vec::with_capacity(written.len());
    for member in written {
        member.check_operation()?;
        let WrittenMember {
            value, kind, origin, ..
        } = member;
        let invalid = || ApiError::invalid_scim(format!("Invalid group member: {}", shown(&value)));
        let kind = match kind.as_deref().unwrap_or("USER") {
            "USER" => MemberKind::User,
            "GROUP" => MemberKind::Group,
            _ => return Err(invalid()),
        };
        match kind {
            MemberKind::User => drop(app.store.user(&value).await?.ok_or_else(invalid)?),
            MemberKind::Group => {
                app.store.group(&value).await?.ok_or_else(invalid)?;
                // A circle gives nobody anything, and is never meant.
                if value == group || app.store.groups_within(&value).await?.contains(group) {
                    return Err(ApiError::invalid_scim("A group cannot be within itself"));
                }
            }
        }
        if !members.iter().any(|known| known.id == value) {
            members.push(Member {
                id: value,
                kind,
                origin: origin
                    .filter(|origin| !origin.is_empty() && origin.len() <= 255)
                    .unwrap_or_else(|| OURS.to_owned()),
            });
        }
    }
    Ok(members)
}

pub(super) fn member_document(member: &Member) -> Value {
    json!({"origin": member.origin, "type": member.kind.as_str(), "value": member.id})
}
