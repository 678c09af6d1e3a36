//! `/Groups/:id/members`: the administration of a group's members.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::login::UAA_ORIGIN;
use weir_platform_uaa_store::{Member, MemberKind};

use super::body;
use super::groups::{check_member_count, find};
use super::users;
use crate::http::error::excerpt;
use crate::http::form::Form;
use crate::http::unread::{self, UnreadBody};
use crate::http::{ApiError, bearer};

/// The document of a member that a request sends.
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

    /// Refuses an operation. Only a `PATCH` may have one, and it has taken the deletions out before this check.
    pub(super) fn check_operation(&self) -> Result<(), ApiError> {
        match self.operation.as_deref() {
            None | Some("") => Ok(()),
            Some(other) => Err(ApiError::invalid_scim(format!(
                "The operation {} of a member must be \"delete\", in a PATCH",
                excerpt(other)
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
    body: UnreadBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write", "groups.update"]).await?;
    let written: WrittenMember = body::json(body.within(unread::SMALL).await?)?;
    let group = find(&app, &id).await?;
    let members = members_of(&app, vec![written], &id).await?;
    let member = members
        .first()
        .ok_or_else(|| ApiError::invalid_scim("A member must be named"))?;
    let added = app.store.add_member(&id, member).await?
        // A membership that a provider owns becomes one of this UAA if the request says so.
        || (member.origin == UAA_ORIGIN && app.store.claim_member(&id, &member.id, UAA_ORIGIN).await?);
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

/// Returns the members that a request names. Each must exist, and must not make a group contain itself.
pub(super) async fn members_of(app: &App, written: Vec<WrittenMember>, group: &str) -> Result<Vec<Member>, ApiError> {
    check_member_count(written.len())?;
    let mut members: Vec<Member> = Vec::with_capacity(written.len());
    for member in written {
        member.check_operation()?;
        let WrittenMember {
            value, kind, origin, ..
        } = member;
        let invalid = || ApiError::invalid_scim(format!("Invalid group member: {}", excerpt(&value)));
        let kind = match kind.as_deref().unwrap_or("USER") {
            "USER" => MemberKind::User,
            "GROUP" => MemberKind::Group,
            _ => return Err(invalid()),
        };
        match kind {
            MemberKind::User => drop(app.store.user(&value).await?.ok_or_else(invalid)?),
            MemberKind::Group => {
                app.store.group(&value).await?.ok_or_else(invalid)?;
                // A group within itself gives no user anything, and is a mistake.
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
                    .unwrap_or_else(|| UAA_ORIGIN.to_owned()),
            });
        }
    }
    Ok(members)
}

pub(super) fn member_document(member: &Member) -> Value {
    json!({"origin": member.origin, "type": member.kind.as_str(), "value": member.id})
}
