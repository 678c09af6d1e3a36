//! `/oauth/clients`: the administration of clients.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::form::Form;
use crate::http::scim::filter::{self, Attribute, Condition, Kind};
use crate::http::scim::{Page, body, order, reduced};
use crate::http::unread::{self, UnreadBody};
use crate::http::{ApiError, bearer, client_auth};

mod written;

use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::{Client, ClientDetail, EMPTY_SECRET, NO_SECRET};
use written::{Written, check};

const SCHEMA: &str = "http://cloudfoundry.org/schema/scim/oauth-clients-1.0";

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "client_id",
        column: "id",
        kind: Kind::Exact,
    },
    Attribute {
        name: "id",
        column: "id",
        kind: Kind::Exact,
    },
    Attribute {
        name: "lastModified",
        column: "modified_at",
        kind: Kind::Time,
    },
];

/// The ids that no client may have: `uaa` is the audience of the UAA's own scopes, and the others are paths beside
/// `/oauth/clients/:id`.
const RESERVED: [&str; 4] = ["uaa", "meta", "restricted", "tx"];

/// The number of attempts to change a client that is changed by other requests at the same time.
const ATTEMPTS: usize = 20;

/// The most bytes of a secret.
const LONGEST_SECRET: usize = 255;

/// `GET /oauth/clients`
pub(crate) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    bearer::caller_with(&app, &headers, &["clients.read", "clients.admin"]).await?;
    let query = Form::query(query.as_deref())?;
    let condition = match query.filled("filter") {
        Some(text) => filter::parse(text, ATTRIBUTES, app.store.dialect())?,
        None => Condition::all(),
    };
    let page = Page::of(&query)?;
    let order = order(&query, ATTRIBUTES, "id")?;
    let (clients, total) = app
        .store
        .clients(&condition.sql, condition.values, &order, page.offset(), page.count)
        .await?;
    let resources = clients.iter().map(|client| reduced(document(client), &query)).collect();
    Ok(Json(page.document(resources, total, SCHEMA)))
}

/// `GET /oauth/clients/:id`
pub(crate) async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller(&app, &headers).await?;
    let own = caller.claims.user_id.is_none() && caller.claims.client_id == id;
    if !own {
        caller.require(&["clients.read", "clients.admin"])?;
    }
    Ok(Json(document(&find(&app, &id).await?)))
}

/// `POST /oauth/clients`
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["clients.write", "clients.admin"]).await?;
    let written = Written::read(body::object(body.within(unread::CLIENT).await?)?)?;
    let id = written.client_id.clone().unwrap_or_default();
    let usable = |character: char| {
        character.is_ascii_graphic() && !matches!(character, '"' | '\\' | '/' | '?' | '#' | '%' | ':')
    };
    if id.is_empty() || id.len() > 255 || !id.chars().all(usable) {
        return Err(invalid(
            "client_id must have 1 to 255 visible ASCII characters other than \" \\ / ? # % :",
        ));
    }
    if RESERVED.contains(&id.as_str()) {
        return Err(invalid(format!("Not allowed: {id} is a reserved client_id")));
    }
    let secret = written.client_secret.as_deref();
    let now = app.store.now();
    let mut client = Client {
        id,
        name: None,
        secret_hash: NO_SECRET.to_owned(),
        second_hash: None,
        detail: ClientDetail::default(),
        created_at: now,
        modified_at: now,
        as_of: 0,
    };
    written.apply(&mut client);
    let grants = &client.detail.authorized_grant_types;
    let needs = grants
        .iter()
        .find(|grant| !matches!(grant.as_str(), "implicit" | "authorization_code" | "refresh_token"));
    if let Some(grant) = needs.filter(|_| secret.is_none()) {
        return Err(invalid(format!("client_secret is required for the grant type {grant}")));
    }
    // Before the secrets are hashed: a request that is refused should not cost a hash.
    check(&app, &client, &caller).await?;
    if let Some(secret) = secret {
        client.secret_hash = hashed(&app, secret).await?;
    }
    if let Some(second) = &written.second_secret {
        if secret.is_none_or(str::is_empty) || second.is_empty() {
            return Err(invalid("secondary_client_secret needs a client_secret beside it"));
        }
        client.second_hash = Some(hashed(&app, second).await?);
    }
    if !app.store.add_client(&client).await? {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "invalid_client",
            format!("Client already exists: {}", client.id),
        ));
    }
    tracing::info!(caller = caller.name(), client = client.id, "a client was created");
    Ok((StatusCode::CREATED, Json(document(&client))))
}

/// `PUT /oauth/clients/:id`: changes the members that are sent, except for the secret.
pub(crate) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["clients.write", "clients.admin"]).await?;
    let written = Written::read(body::object(body.within(unread::CLIENT).await?)?)?;
    if written.client_id.as_ref().is_some_and(|written| *written != id) {
        return Err(invalid("client_id cannot be changed"));
    }
    // Clients send the whole document back. The present secret is accepted, because it changes nothing.
    let other = match &written.client_secret {
        Some(secret) => !client_auth::is_secret(&app, &id, Some(&find(&app, &id).await?), secret).await?,
        None => false,
    };
    if other || written.second_secret.is_some() {
        return Err(invalid(
            "a client's secrets are changed with PUT /oauth/clients/:id/secret",
        ));
    }
    // `check` looks at the whole client, so the client that is written must be the one that was checked.
    for _ in 0..ATTEMPTS {
        let mut client = find(&app, &id).await?;
        let of = client.modified_at;
        written.apply(&mut client);
        check(&app, &client, &caller).await?;
        client.modified_at = app.store.now().max(of + 1);
        if app.store.replace_client(&client, of).await? {
            tracing::info!(caller = caller.name(), client = id, "a client was changed");
            return Ok(Json(document(&client)));
        }
    }
    Err(ApiError::changed_meanwhile())
}

/// `DELETE /oauth/clients/:id`
pub(crate) async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["clients.write", "clients.admin"]).await?;
    let client = find(&app, &id).await?;
    app.store.remove_client(&id).await?;
    app.revoked.catch_up().await;
    tracing::info!(caller = caller.name(), client = id, "a client was removed");
    Ok(Json(document(&client)))
}

/// `PUT /oauth/clients/:id/secret`: replaces the secret, or adds a second one until the first is deleted.
pub(crate) async fn secret(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Change {
        client_id: Option<String>,
        old_secret: Option<String>,
        secret: Option<String>,
        change_mode: Option<String>,
    }
    let caller = bearer::caller_with(&app, &headers, &["clients.secret", "clients.admin"]).await?;
    let change: Change = body::json(body.within(unread::SMALL).await?)?;
    if change.client_id.as_ref().is_some_and(|named| *named != id) {
        return Err(invalid("clientId is not the client of the path"));
    }
    let client = find(&app, &id).await?;
    if !caller.has_any(&["uaa.admin", "clients.admin"]) {
        let own = caller.claims.user_id.is_none() && caller.claims.client_id == id;
        let old = change.old_secret.unwrap_or_default();
        if !own || !client_auth::is_secret(&app, &id, Some(&client), &old).await? {
            return Err(ApiError::bad_request(
                "invalid_client",
                "Previous secret is required and must be valid",
            ));
        }
    }
    let fresh = || async {
        let secret = change.secret.as_deref().filter(|secret| !secret.is_empty());
        let secret = secret.ok_or_else(|| invalid("secret must be given"))?;
        hashed(&app, secret).await
    };
    let mode = change.change_mode.as_deref().unwrap_or("UPDATE");
    let (first, second, message) = match mode {
        "ADD" => {
            if client.second_hash.is_some() {
                return Err(invalid(
                    "client secret is either empty or client already has two secrets.",
                ));
            }
            (client.secret_hash.clone(), Some(fresh().await?), "Secret is added")
        }
        "DELETE" => {
            let second = client.second_hash.clone();
            let second =
                second.ok_or_else(|| invalid("client secret is either empty or client has only one secret."))?;
            // The older of the two secrets is deleted.
            (second, None, "Secret is deleted")
        }
        "UPDATE" => (fresh().await?, None, "secret updated"),
        _ => return Err(invalid("changeMode must be UPDATE, ADD or DELETE")),
    };
    // A replaced secret may have been stolen, so the tokens of the client are revoked. The rotation with two secrets revokes
    // nothing.
    let ends = mode == "UPDATE";
    let changed = app
        .store
        .change_client_secrets(&client, &first, second.as_deref(), ends);
    if !changed.await? {
        return Err(ApiError::changed_meanwhile());
    }
    app.revoked.catch_up().await;
    tracing::info!(caller = caller.name(), client = id, "a client's secret was changed");
    Ok(Json(json!({"status": "ok", "message": message})))
}

/// `GET /oauth/clients/meta`: the metadata of each client for a page of applications.
pub(crate) async fn all_metadata(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    bearer::caller(&app, &headers).await?;
    let all = Condition::all();
    let (clients, _) = app.store.clients(&all.sql, all.values, "id", 0, Page::LARGEST).await?;
    Ok(Json(clients.iter().map(metadata_document).collect()))
}

/// `GET /oauth/clients/:id/meta`, which uaac requests after each operation on a client.
pub(crate) async fn metadata(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    bearer::caller(&app, &headers).await?;
    Ok(Json(metadata_document(&find(&app, &id).await?)))
}

fn metadata_document(client: &Client) -> Value {
    json!({
        "clientId": client.id,
        "clientName": client.name,
        "showOnHomePage": false,
        "appLaunchUrl": null,
        "appIcon": null,
    })
}

pub(crate) fn not_found(id: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("No client with requested id: {}", super::error::excerpt(id)),
    )
}

async fn find(app: &App, id: &str) -> Result<Client, ApiError> {
    app.store.client(id).await?.ok_or_else(|| not_found(id))
}

fn invalid(description: impl Into<String>) -> ApiError {
    ApiError::bad_request("invalid_client", description)
}

async fn hashed(app: &App, secret: &str) -> Result<String, ApiError> {
    if secret.is_empty() {
        return Ok(EMPTY_SECRET.to_owned());
    }
    if secret.len() > LONGEST_SECRET {
        return Err(invalid(format!("client_secret is longer than {LONGEST_SECRET} bytes")));
    }
    Ok(app.hasher.hash_secret(secret).await?)
}

/// Returns the document of a client, which has no secrets.
fn document(client: &Client) -> Value {
    let detail = &client.detail;
    let mut document = Value::Object(detail.information.clone());
    let known = json!({
        "client_id": client.id,
        "scope": detail.scope,
        "resource_ids": ["none"],
        "authorized_grant_types": detail.authorized_grant_types,
        "redirect_uri": detail.redirect_uri,
        "authorities": detail.authorities,
        "autoapprove": detail.auto_approve,
        "allowpublic": detail.allow_public,
        "required_user_groups": detail.required_user_groups,
        "lastModified": client.modified_at,
    });
    for (name, value) in known.as_object().into_iter().flatten() {
        document[name] = value.clone();
    }
    let optional = [
        ("name", client.name.as_ref().map(|name| json!(name))),
        (
            "access_token_validity",
            detail.access_token_validity.map(|seconds| json!(seconds)),
        ),
        (
            "refresh_token_validity",
            detail.refresh_token_validity.map(|seconds| json!(seconds)),
        ),
        (
            "allowedproviders",
            detail.allowed_providers.as_ref().map(|list| json!(list)),
        ),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            document[name] = value;
        }
    }
    document
}
