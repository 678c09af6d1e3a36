//! `/Groups`: the administration of groups. The `displayName` of a group is the scope that it gives.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::issue::ZONE;
use weir_platform_uaa_store::{Group, scopes};

use super::filter::{self, Attribute, Condition, Kind};
use super::members::{WrittenMember, member_document, members_of};
use super::users::Meta;
use super::{Page, SCHEMA, body, if_match, meta, order, outdated, reduced, tagged, version_to_change};
use crate::http::error::excerpt;
use crate::http::form::Form;
use crate::http::unread::{self, UnreadBody};
use crate::http::{ApiError, bearer};

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "id",
        column: "id",
        kind: Kind::Exact,
    },
    Attribute {
        name: "displayName",
        column: "display_key",
        kind: Kind::Group,
    },
    Attribute {
        name: "created",
        column: "created_at",
        kind: Kind::Time,
    },
    Attribute {
        name: "meta.created",
        column: "created_at",
        kind: Kind::Time,
    },
    Attribute {
        name: "lastModified",
        column: "modified_at",
        kind: Kind::Time,
    },
    Attribute {
        name: "meta.lastModified",
        column: "modified_at",
        kind: Kind::Time,
    },
];

/// The most bytes of a description.
const LONGEST: usize = 4096;

/// The most members in one request.
const MOST: usize = 1000;

/// The document of a group that a request sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    display_name: Option<String>,
    description: Option<String>,
    members: Option<Vec<WrittenMember>>,
    meta: Option<Meta>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl Written {
    fn read(body: Bytes) -> Result<Self, ApiError> {
        let written: Self = body::json(body)?;
        body::refuse_unknown(&written.others)?;
        Ok(written)
    }

    /// Returns the version in `meta`, which the client read before.
    fn version(&self) -> Option<i64> {
        self.meta.as_ref().and_then(|meta| meta.version)
    }
}

/// `GET /Groups`
pub(crate) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    bearer::caller_with(&app, &headers, &["scim.read"]).await?;
    let query = Form::query(query.as_deref())?;
    let condition = match query.filled("filter") {
        Some(text) => filter::parse(text, ATTRIBUTES, app.store.dialect())?,
        None => Condition::all(),
    };
    let page = Page::of(&query)?;
    let order = order(&query, ATTRIBUTES, "created_at")?;
    let (groups, total) = app
        .store
        .groups(&condition.sql, condition.values, &order, page.offset(), page.count)
        .await?;
    let mut resources = Vec::with_capacity(groups.len());
    for group in groups {
        resources.push(reduced(document(&app, &group).await?, &query));
    }
    Ok(Json(page.document(resources, total, SCHEMA)))
}

/// `GET /Groups/:id`
pub(crate) async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    bearer::caller_with(&app, &headers, &["scim.read"]).await?;
    let query = Form::query(query.as_deref())?;
    let group = find(&app, &id).await?;
    Ok(tagged(group.version, reduced(document(&app, &group).await?, &query)))
}

/// `POST /Groups`
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<(StatusCode, Response), ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write"]).await?;
    let written = Written::read(body.within(unread::GROUP).await?)?;
    let name = written
        .display_name
        .ok_or_else(|| ApiError::invalid_scim("A displayName must be provided"))?;
    let now = app.store.now();
    let group = Group {
        id: uuid::Uuid::new_v4().to_string(),
        display_name: checked_name(name)?,
        description: checked_description(written.description)?,
        created_at: now,
        modified_at: now,
        version: 0,
    };
    let members = members_of(&app, written.members.unwrap_or_default(), &group.id).await?;
    app.add_group(&group, &members).await?;
    tracing::info!(
        caller = caller.name(),
        group = group.display_name,
        "a group was created"
    );
    Ok((
        StatusCode::CREATED,
        tagged(group.version, document(&app, &group).await?),
    ))
}

/// `PUT /Groups/:id`
pub(crate) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Response, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write", "groups.update"]).await?;
    let written = Written::read(body.within(unread::GROUP).await?)?;
    let wanted = version_to_change(&headers, written.version(), "PUT")?;
    let present = find(&app, &id).await?;
    let name = written
        .display_name
        .ok_or_else(|| ApiError::invalid_scim("A displayName must be provided"))?;
    let members = members_of(&app, written.members.unwrap_or_default(), &id).await?;
    let changed = Change {
        name: Some(checked_name(name)?),
        description: Some(checked_description(written.description)?),
        members: Some(members),
    };
    let group = apply(&app, present, changed, wanted).await?;
    tracing::info!(
        caller = caller.name(),
        group = group.display_name,
        "a group was changed"
    );
    Ok(tagged(group.version, document(&app, &group).await?))
}

/// `PATCH /Groups/:id`: changes the members of the document that are sent. A member of the group with `"operation": "delete"` is
/// removed.
pub(crate) async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Response, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write", "groups.update"]).await?;
    let written = Written::read(body.within(unread::GROUP).await?)?;
    let wanted = version_to_change(&headers, written.version(), "PATCH")?;
    let present = find(&app, &id).await?;
    let removed = written.meta.unwrap_or_default().attributes;
    for name in &removed {
        if !["members", "description"].contains(&name.to_ascii_lowercase().as_str()) {
            return Err(ApiError::invalid_scim(format!(
                "Attribute {} cannot be removed using \"Meta.attributes\"",
                excerpt(name)
            )));
        }
    }
    let removes = |name: &str| removed.iter().any(|known| known.eq_ignore_ascii_case(name));
    let mut members = None;
    if removes("members") {
        members = Some(Vec::new());
    }
    if let Some(written) = written.members {
        let mut list = match members {
            Some(list) => list,
            None => app.store.members(&id).await?,
        };
        let (gone, mut added): (Vec<_>, Vec<_>) = written.into_iter().partition(WrittenMember::is_removed);
        list.retain(|member| !gone.iter().any(|written| written.value == member.id));
        added.iter().try_for_each(WrittenMember::check_operation)?;
        // A present member is not changed, unless the request names an origin for it.
        added.retain(|written| written.names_origin() || !list.iter().any(|known| known.id == written.value));
        list.retain(|member| !added.iter().any(|written| written.value == member.id));
        list.extend(members_of(&app, added, &id).await?);
        members = Some(list);
    }
    let description = match written.description {
        Some(text) => Some(checked_description(Some(text))?),
        None => removes("description").then_some(None),
    };
    let changed = Change {
        name: written.display_name.map(checked_name).transpose()?,
        description,
        members,
    };
    let group = apply(&app, present, changed, wanted).await?;
    tracing::info!(
        caller = caller.name(),
        group = group.display_name,
        "a group was changed"
    );
    Ok(tagged(group.version, document(&app, &group).await?))
}

/// `DELETE /Groups/:id`
pub(crate) async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write"]).await?;
    let group = find(&app, &id).await?;
    if if_match(&headers)?.is_some_and(|wanted| wanted != group.version) {
        return Err(outdated());
    }
    if is_default(&app, &id) {
        return Err(ApiError::invalid_scim(
            "A group that every user is in cannot be removed",
        ));
    }
    // Read before the removal: the answer describes the removed group.
    let document = document(&app, &group).await?;
    app.store.remove_group(&id).await?;
    app.revoked.catch_up().await;
    tracing::info!(
        caller = caller.name(),
        group = group.display_name,
        "a group was removed"
    );
    Ok(Json(document))
}

/// The changes of a group.
struct Change {
    name: Option<String>,
    description: Option<Option<String>>,
    members: Option<Vec<weir_platform_uaa_store::Member>>,
}

async fn apply(app: &App, present: Group, change: Change, wanted: Option<i64>) -> Result<Group, ApiError> {
    if wanted.is_some_and(|wanted| wanted != present.version) {
        return Err(outdated());
    }
    let renamed = change.name.as_ref().filter(|name| **name != present.display_name);
    // The name of a default group is a scope of all users, and the next start would create a group with the old name. Earlier
    // versions allowed the change, so a renamed group can get its name back.
    let given_back = |name: &String| app.default_groups.get(name.as_str()) == Some(&present.id);
    if is_default(app, &present.id) && renamed.is_some_and(|name| !given_back(name)) {
        return Err(ApiError::invalid_scim(
            "A group that every user is in cannot be renamed",
        ));
    }
    let group = Group {
        display_name: change.name.unwrap_or_else(|| present.display_name.clone()),
        description: change.description.unwrap_or_else(|| present.description.clone()),
        version: present.version + 1,
        modified_at: app.store.now(),
        ..present.clone()
    };
    if !app
        .replace_group(&group, change.members.as_deref(), present.version)
        .await?
    {
        return Err(outdated());
    }
    // Tokens of former members are refused by this node before the caller has the answer.
    app.revoked.catch_up().await;
    Ok(group)
}

/// Whether every user is in this group.
fn is_default(app: &App, id: &str) -> bool {
    app.default_groups.values().any(|default| default == id)
}

pub(super) async fn find(app: &App, id: &str) -> Result<Group, ApiError> {
    app.store
        .group(id)
        .await?
        .ok_or_else(|| ApiError::scim_not_found("Group", id))
}

fn checked_name(name: String) -> Result<String, ApiError> {
    if scopes::is_valid(&name) {
        Ok(name)
    } else {
        Err(ApiError::invalid_scim(
            "A displayName has 1 to 255 visible ASCII characters, without quotes, commas and backslashes",
        ))
    }
}

fn checked_description(text: Option<String>) -> Result<Option<String>, ApiError> {
    if text.as_ref().is_some_and(|text| text.len() > LONGEST) {
        return Err(ApiError::invalid_scim(format!(
            "The description is longer than {LONGEST} bytes"
        )));
    }
    Ok(text)
}

/// Refuses a request with too many members.
pub(super) fn check_member_count(count: usize) -> Result<(), ApiError> {
    if count > MOST {
        return Err(ApiError::invalid_scim(format!(
            "There are more than {MOST} members in one request"
        )));
    }
    Ok(())
}

async fn document(app: &App, group: &Group) -> Result<Value, ApiError> {
    let members: Vec<Value> = app
        .store
        .members(&group.id)
        .await?
        .iter()
        .map(member_document)
        .collect();
    let mut document = json!({
        "id": group.id,
        "displayName": group.display_name,
        "meta": meta(group.version, group.created_at, group.modified_at),
        "members": members,
        "zoneId": ZONE,
        "schemas": [SCHEMA],
    });
    if let Some(description) = &group.description {
        document["description"] = description.as_str().into();
    }
    Ok(document)
}
