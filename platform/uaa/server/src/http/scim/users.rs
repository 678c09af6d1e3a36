//! `/Users`: the administration of users.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::login::{UAA_ORIGIN, principal};
use weir_platform_uaa_store::{Email, User};

use super::filter::{self, Attribute, Condition, Kind};
use super::{Page, SCHEMA, body, if_match, order, outdated, reduced, tagged, version_to_change};
use crate::http::form::Form;
use crate::http::unread::{self, UnreadBody};
use crate::http::{ApiError, bearer};

mod document;
mod written;

pub(in crate::http::scim) use document::document;
pub(in crate::http::scim) use written::Meta;
use written::{Lists, Written, apply, check_length, remove_attributes};

const fn attribute(name: &'static str, column: &'static str, kind: Kind) -> Attribute {
    Attribute { name, column, kind }
}

/// The attributes by which users can be found.
pub(crate) const ATTRIBUTES: &[Attribute] = &[
    attribute("id", "id", Kind::Exact),
    attribute("userName", "user_key", Kind::Lower),
    attribute("origin", "origin", Kind::Exact),
    attribute("externalId", "external_id", Kind::Exact),
    attribute("email", "email_key", Kind::Lower),
    attribute("emails.value", "email_key", Kind::Lower),
    attribute("emails", "email_key", Kind::Lower),
    attribute("givenName", "given_key", Kind::Lower),
    attribute("name.givenName", "given_key", Kind::Lower),
    attribute("familyName", "family_key", Kind::Lower),
    attribute("name.familyName", "family_key", Kind::Lower),
    attribute("active", "active", Kind::Boolean),
    attribute("verified", "verified", Kind::Boolean),
    attribute("created", "created_at", Kind::Time),
    attribute("meta.created", "created_at", Kind::Time),
    attribute("lastModified", "modified_at", Kind::Time),
    attribute("meta.lastModified", "modified_at", Kind::Time),
    attribute("lastLogonTime", "last_logon", Kind::Time),
    attribute("previousLogonTime", "previous_logon", Kind::Time),
];

/// `GET /Users`
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
    let (users, total) = app
        .store
        .users(&condition.sql, condition.values, &order, page.offset(), page.count)
        .await?;
    let mut resources = Vec::with_capacity(users.len());
    for user in users {
        resources.push(reduced(document(&app, &user).await?, &query));
    }
    Ok(Json(page.document(resources, total, SCHEMA)))
}

/// `GET /Users/:id`
pub(crate) async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let caller = bearer::caller(&app, &headers).await?;
    if !caller.is_user(&id) {
        caller.require(&["scim.read"])?;
    }
    let query = Form::query(query.as_deref())?;
    let user = find(&app, &id).await?;
    Ok(tagged(user.version, reduced(document(&app, &user).await?, &query)))
}

/// `POST /Users`
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<(StatusCode, Response), ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write", "scim.create"]).await?;
    let written: Written = body::json(body.within(unread::SMALL).await?)?;
    let now = app.store.now();
    let mut user = User {
        id: uuid::Uuid::new_v4().to_string(),
        origin: UAA_ORIGIN.to_owned(),
        user_name: String::new(),
        external_id: None,
        given_name: None,
        family_name: None,
        emails: Vec::new(),
        phones: Vec::new(),
        active: true,
        verified: false,
        password_hash: None,
        password_changed_at: None,
        created_at: now,
        modified_at: now,
        version: 0,
        last_logon: None,
        previous_logon: None,
        as_of: 0,
    };
    let origin = written.origin.clone().filter(|origin| !origin.is_empty());
    user.origin = origin.unwrap_or_else(|| UAA_ORIGIN.to_owned());
    check_length("origin", &user.origin)?;
    if written.user_name.is_none() {
        return Err(ApiError::invalid_scim("A username must be provided."));
    }
    let password = written.password.clone().filter(|password| !password.is_empty());
    if password.is_some() && user.origin != UAA_ORIGIN {
        return Err(ApiError::invalid_scim(
            "The password of a user of another origin is kept there: leave it out",
        ));
    }
    // A copy of another user's document lists the default groups, which the new user is in anyway.
    let is_default = |id: &String| app.default_groups.values().any(|default| default == id);
    if written.groups.iter().flatten().any(|group| !is_default(&group.value)) {
        return Err(ApiError::invalid_scim(
            "A user is put into groups with POST /Groups/:id/members",
        ));
    }
    apply(&mut user, written, Lists::Replace)?;
    // Every token of a user has the claim `email`. The name stands in for a missing address.
    if user.emails.is_empty() {
        user.emails = vec![Email {
            value: user.user_name.clone(),
            primary: true,
            kind: None,
        }];
    }
    if let Some(password) = password {
        app.check_policy(&password)?;
        user.password_hash = Some(app.hasher.hash(&password).await?);
        user.password_changed_at = Some(now);
    }
    app.add_user(&user).await?;
    tracing::info!(
        caller = caller.name(),
        user = user.id,
        origin = user.origin,
        "a user was created"
    );
    Ok((StatusCode::CREATED, tagged(user.version, document(&app, &user).await?)))
}

/// `PUT /Users/:id`
pub(crate) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Response, ApiError> {
    change(&app, &id, &headers, body, "PUT").await
}

/// `PATCH /Users/:id`
pub(crate) async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Response, ApiError> {
    change(&app, &id, &headers, body, "PATCH").await
}

async fn change(
    app: &App,
    id: &str,
    headers: &HeaderMap,
    body: UnreadBody,
    method: &str,
) -> Result<Response, ApiError> {
    let caller = bearer::caller_with(app, headers, &["scim.write"]).await?;
    let written: Written = body::json(body.within(unread::SMALL).await?)?;
    let read = written.meta.as_ref().and_then(|meta| meta.version);
    let wanted = version_to_change(headers, read, method)?;
    let present = find(app, id).await?;
    if wanted.is_some_and(|wanted| wanted != present.version) {
        return Err(outdated());
    }
    if written.origin.as_ref().is_some_and(|origin| *origin != present.origin) {
        return Err(ApiError::invalid_scim("The origin of a user cannot be changed"));
    }
    if written.password.as_ref().is_some_and(|password| !password.is_empty()) {
        return Err(ApiError::invalid_scim(
            "A password is changed with PUT /Users/:id/password",
        ));
    }
    if let Some(groups) = &written.groups {
        let named: BTreeSet<&str> = groups.iter().map(|group| group.value.as_str()).collect();
        let there = app.memberships(&present).await?;
        if named != there.iter().map(|group| group.id.as_str()).collect() {
            return Err(ApiError::invalid_scim(
                "The groups of a user are changed with /Groups/:id/members",
            ));
        }
    }
    let mut user = present.clone();
    if method == "PUT" {
        // `PUT` replaces the user, so absent members are removed.
        user.given_name = None;
        user.family_name = None;
        user.phones.clear();
        user.external_id = None;
        apply(&mut user, written, Lists::Replace)?;
    } else {
        let attributes = written.meta.as_ref().map(|meta| meta.attributes.as_slice());
        remove_attributes(&mut user, attributes.unwrap_or_default(), &written)?;
        apply(&mut user, written, Lists::Add)?;
    }
    user.version = present.version + 1;
    user.modified_at = app.store.now();
    // Checks the version again, because another change may have come first.
    if !app.replace_user(&user, present.version).await? {
        return Err(outdated());
    }
    app.revoked.catch_up().await;
    tracing::info!(caller = caller.name(), user = id, "a user was changed");
    Ok(tagged(user.version, document(app, &user).await?))
}

/// `DELETE /Users/:id`
pub(crate) async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write"]).await?;
    let user = find(&app, &id).await?;
    if if_match(&headers)?.is_some_and(|wanted| wanted != user.version) {
        return Err(outdated());
    }
    if caller.is_user(&id) {
        return Err(ApiError::invalid_scim("Users cannot remove themselves"));
    }
    let document = document(&app, &user).await?;
    app.store.remove_user(&id).await?;
    app.revoked.catch_up().await;
    // A later user with this name must not begin with a locked account.
    app.store
        .forget_failures(&principal(&user.origin, &user.user_name))
        .await?;
    tracing::info!(caller = caller.name(), user = id, "a user was removed");
    Ok(Json(document))
}

/// `PATCH /Users/:id/status`: unlocks a user name.
pub(crate) async fn status(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        locked: Option<bool>,
        password_change_required: Option<bool>,
    }
    let caller = bearer::caller_with(&app, &headers, &["scim.write"]).await?;
    let status: Status = body::json(body.within(unread::SMALL).await?)?;
    let user = find(&app, &id).await?;
    if status.password_change_required == Some(true) {
        return Err(ApiError::invalid_scim(
            "passwordChangeRequired is not supported: set another password with PUT /Users/:id/password",
        ));
    }
    match status.locked {
        Some(true) => {
            return Err(ApiError::invalid_scim(
                "Cannot set user account to locked. User accounts only become locked through exceeding the allowed failed login attempts.",
            ));
        }
        Some(false) => {
            app.store
                .forget_failures(&principal(&user.origin, &user.user_name))
                .await?;
            tracing::info!(caller = caller.name(), user = id, "a user was unlocked");
        }
        None => {}
    }
    Ok(Json(json!({ "locked": status.locked })))
}

pub(super) async fn find(app: &App, id: &str) -> Result<User, ApiError> {
    app.store
        .user(id)
        .await?
        .ok_or_else(|| ApiError::scim_not_found("User", id))
}
