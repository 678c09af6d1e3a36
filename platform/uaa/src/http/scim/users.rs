//! `/Users`

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use weir_db::DbError;

use super::filter::{self, Attribute, Condition, Kind};
use super::{Page, SCHEMA, body, if_match, meta, order, outdated, reduced, time};
use crate::app::App;
use crate::http::form::Form;
use crate::http::{ApiError, bearer};
use crate::issue::ZONE;
use crate::login::{OURS, principal};
use crate::store::{Email, User};

const fn attribute(name: &'static str, column: &'static str, kind: Kind) -> Attribute {
    Attribute { name, column, kind }
}

/// What users can be found by.
const ATTRIBUTES: &[Attribute] = &[
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

/// Longest of any text.
const LONGEST: usize = 255;

/// Most addresses or numbers.
const MOST: usize = 20;

/// A user as clients write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written {
    user_name: Option<String>,
    password: Option<String>,
    origin: Option<String>,
    external_id: Option<String>,
    name: Option<Name>,
    emails: Option<Vec<Email>>,
    phone_numbers: Option<Vec<Phone>>,
    active: Option<bool>,
    verified: Option<bool>,
    /// What `PATCH` takes away.
    meta: Option<Meta>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Name {
    given_name: Option<String>,
    family_name: Option<String>,
}

#[derive(Deserialize)]
struct Phone {
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    attributes: Vec<String>,
}

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
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller(&app, &headers).await?;
    if !caller.is_user(&id) {
        caller.require(&["scim.read"])?;
    }
    let query = Form::query(query.as_deref())?;
    let user = find(&app, &id).await?;
    Ok(Json(reduced(document(&app, &user).await?, &query)))
}

/// `POST /Users`
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write", "scim.create"]).await?;
    let written: Written = body::json(body)?;
    let now = app.store.now();
    let mut user = User {
        id: uuid::Uuid::new_v4().to_string(),
        origin: OURS.to_owned(),
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
    };
    let origin = written.origin.clone().filter(|origin| !origin.is_empty());
    user.origin = origin.unwrap_or_else(|| OURS.to_owned());
    short("origin", &user.origin)?;
    if written.user_name.is_none() {
        return Err(ApiError::invalid_scim("A username must be provided."));
    }
    let password = written.password.clone().filter(|password| !password.is_empty());
    replace(&mut user, written)?;
    if user.emails.is_empty() {
        user.emails = vec![Email {
            value: user.user_name.clone(),
            primary: true,
        }];
    }
    if let Some(password) = password.filter(|_| user.origin == OURS) {
        app.check_policy(&password)?;
        user.password_hash = Some(app.hasher.hash(&password).await?);
        user.password_changed_at = Some(now);
    }
    match app.store.add_user(&user).await {
        Ok(()) => {}
        Err(DbError::Duplicate(_)) => return Err(taken(&app, &user).await?),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(
        caller = caller.name(),
        user = user.id,
        origin = user.origin,
        "a user was made"
    );
    Ok((StatusCode::CREATED, Json(document(&app, &user).await?)))
}

/// `PUT /Users/:id`
pub(crate) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    change(&app, &id, &headers, body, "PUT").await
}

/// `PATCH /Users/:id`
pub(crate) async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    change(&app, &id, &headers, body, "PATCH").await
}

async fn change(
    app: &App,
    id: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    method: &str,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(app, headers, &["scim.write"]).await?;
    let wanted = if_match(headers, method)?;
    let written: Written = body::json(body)?;
    let present = find(app, id).await?;
    if wanted.is_some_and(|wanted| wanted != present.version) {
        return Err(outdated());
    }
    if written.origin.as_ref().is_some_and(|origin| *origin != present.origin) {
        return Err(ApiError::invalid_scim("The origin of a user cannot be changed"));
    }
    let mut user = present.clone();
    if method == "PUT" {
        // What is not written is not there any more.
        user.given_name = None;
        user.family_name = None;
        user.phones.clear();
        user.external_id = None;
    }
    for attribute in written.meta.iter().flat_map(|meta| &meta.attributes) {
        match attribute.to_ascii_lowercase().as_str() {
            "name.givenname" => user.given_name = None,
            "name.familyname" => user.family_name = None,
            "name" => (user.given_name, user.family_name) = (None, None),
            "phonenumbers" => user.phones.clear(),
            "externalid" => user.external_id = None,
            _ => {}
        }
    }
    replace(&mut user, written)?;
    user.version = present.version + 1;
    user.modified_at = app.store.now();
    match app.store.replace_user(&user, present.version).await {
        Ok(true) => {}
        Ok(false) => return Err(outdated()),
        Err(DbError::Duplicate(_)) => return Err(taken(app, &user).await?),
        Err(error) => return Err(error.into()),
    }
    if present.active && !user.active {
        app.end_tokens_of(id).await?;
    }
    tracing::info!(caller = caller.name(), user = id, "a user was changed");
    Ok(Json(document(app, &user).await?))
}

/// `DELETE /Users/:id`
pub(crate) async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["scim.write"]).await?;
    let user = find(&app, &id).await?;
    if caller.is_user(&id) {
        return Err(ApiError::invalid_scim("Nobody can remove themselves"));
    }
    let document = document(&app, &user).await?;
    // First of all: a token that outlives its user is worse than a user without tokens.
    app.end_tokens_of(&id).await?;
    app.store.remove_user(&id).await?;
    app.store
        .forget_failures(&principal(&user.origin, &user.user_name))
        .await?;
    tracing::info!(caller = caller.name(), user = id, "a user was removed");
    Ok(Json(document))
}

/// `PATCH /Users/:id/status`: unlocks.
pub(crate) async fn status(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    #[derive(Deserialize)]
    struct Status {
        locked: Option<bool>,
    }
    let caller = bearer::caller_with(&app, &headers, &["scim.write"]).await?;
    let status: Status = body::json(body)?;
    let user = find(&app, &id).await?;
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

/// 409, with who it is.
async fn taken(app: &App, user: &User) -> Result<ApiError, ApiError> {
    let present = app.store.user_by_name(&user.origin, &user.user_name).await?;
    let error = ApiError::scim_exists(format!("Username already in use: {}", user.user_name));
    Ok(match present {
        Some(present) => error
            .with("user_id", present.id)
            .with("verified", present.verified)
            .with("active", present.active),
        None => error,
    })
}

/// Writes what was sent over what is there.
fn replace(user: &mut User, written: Written) -> Result<(), ApiError> {
    if let Some(name) = written.user_name {
        check_user_name(&name, &user.origin)?;
        user.user_name = name;
    }
    if let Some(emails) = written.emails {
        if emails.is_empty() || emails.len() > MOST {
            return Err(ApiError::invalid_scim("An email must be provided."));
        }
        for email in &emails {
            short("email", &email.value)?;
            if !email.value.contains('@') && email.value != user.user_name {
                return Err(ApiError::invalid_scim("An email must have the form name@domain"));
            }
        }
        user.emails = emails;
    }
    if let Some(name) = written.name {
        for part in [&name.given_name, &name.family_name].into_iter().flatten() {
            short("name", part)?;
        }
        let filled = |part: Option<String>| part.filter(|part| !part.is_empty());
        (user.given_name, user.family_name) = (filled(name.given_name), filled(name.family_name));
    }
    if let Some(phones) = written.phone_numbers {
        if phones.len() > MOST {
            return Err(ApiError::invalid_scim("There are too many phone numbers"));
        }
        for phone in &phones {
            short("phone number", &phone.value)?;
        }
        user.phones = phones.into_iter().map(|phone| phone.value).collect();
    }
    if let Some(id) = written.external_id {
        short("externalId", &id)?;
        user.external_id = Some(id).filter(|id| !id.is_empty());
    }
    user.active = written.active.unwrap_or(user.active);
    user.verified = written.verified.unwrap_or(user.verified);
    Ok(())
}

/// Users of ours have the names that UAA gives; those of others are called what they are called there.
fn check_user_name(name: &str, origin: &str) -> Result<(), ApiError> {
    short("username", name)?;
    let usable =
        |character: char| character.is_alphabetic() || character.is_ascii_digit() || "+-_.@'!".contains(character);
    if name.trim().is_empty() {
        return Err(ApiError::invalid_scim("A username must be provided."));
    }
    if origin == OURS && !name.chars().all(usable) {
        return Err(ApiError::invalid_scim(
            "Username must match pattern: [\\p{L}+0-9+\\-_.@'!]+",
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::invalid_scim("A username has no control characters"));
    }
    Ok(())
}

fn short(what: &str, text: &str) -> Result<(), ApiError> {
    if text.len() > LONGEST {
        return Err(ApiError::invalid_scim(format!(
            "The {what} is longer than {LONGEST} bytes"
        )));
    }
    Ok(())
}

/// A user as it is shown. Never with a password or its hash.
pub(super) async fn document(app: &App, user: &User) -> Result<Value, ApiError> {
    let groups: Vec<Value> = app
        .memberships(user)
        .await?
        .into_iter()
        .map(|group| {
            let kind = if group.direct { "DIRECT" } else { "INDIRECT" };
            json!({"value": group.id, "display": group.display_name, "type": kind})
        })
        .collect();
    let approvals: Vec<Value> = app
        .store
        .approvals(&user.id)
        .await?
        .into_iter()
        .map(|approval| {
            json!({
                "userId": user.id,
                "clientId": approval.client_id,
                "scope": approval.scope,
                "status": if approval.approved { "APPROVED" } else { "DENIED" },
                "lastUpdatedAt": time(approval.modified_at),
                "expiresAt": time(approval.expires_at),
            })
        })
        .collect();
    let mut name = serde_json::Map::new();
    for (key, part) in [("givenName", &user.given_name), ("familyName", &user.family_name)] {
        if let Some(part) = part {
            name.insert(key.to_owned(), part.as_str().into());
        }
    }
    let mut document = json!({
        "id": user.id,
        "meta": meta(user.version, user.created_at, user.modified_at),
        "userName": user.user_name,
        "name": name,
        "emails": user.emails,
        "groups": groups,
        "approvals": approvals,
        "active": user.active,
        "verified": user.verified,
        "origin": user.origin,
        "zoneId": ZONE,
        "passwordLastModified": time(user.password_changed_at.unwrap_or(user.created_at)),
        "schemas": [SCHEMA],
    });
    if let Some(id) = &user.external_id {
        document["externalId"] = id.as_str().into();
    }
    if !user.phones.is_empty() {
        document["phoneNumbers"] = user.phones.iter().map(|phone| json!({ "value": phone })).collect();
    }
    for (key, at) in [
        ("lastLogonTime", user.last_logon),
        ("previousLogonTime", user.previous_logon),
    ] {
        if let Some(at) = at {
            document[key] = at.into();
        }
    }
    Ok(document)
}
