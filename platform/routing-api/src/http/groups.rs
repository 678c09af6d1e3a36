//! Router groups.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use url::form_urlencoded;
use weir_routing_api_client::models::RouterGroup;

use super::{App, Refusal, read, scopes};
use crate::store::{Groups, new_guid};

/// What a change of ports may break.
const WARNING: &str = "Warning: if routes are registered for ports that are not in the new range, modifying your load \
                       balancer to remove these ports will result in backends for those routes becoming inaccessible.";

pub(super) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Vec<RouterGroup>>, Refusal> {
    app.allow(&headers, scopes::GROUPS_READ).await?;
    let query = query.unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let name = pairs.find(|(name, _)| name == "name").map(|(_, name)| name);
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(Json(all(&app).await?));
    };
    readable(&app)?;
    let group = Groups(&app.db).named(&name).await?;
    let group = group.ok_or_else(|| Refusal::not_found(format!("router group '{name}' not found")))?;
    Ok(Json(vec![group]))
}

pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    app.allow(request.headers(), scopes::GROUPS_WRITE).await?;
    let mut group: RouterGroup = read(request).await?;
    let known = all(&app).await?;
    if let Some(known) = known
        .into_iter()
        .find(|known| known.name == group.name && known.kind == group.kind)
    {
        return Ok(Json(known).into_response());
    }
    group.guid = new_guid();
    let valid = group.validate(&app.reserved_ports);
    valid.map_err(|error| Refusal::process(&error.to_string()))?;
    writable(&app)?;
    Groups(&app.db).add(&group, app.now()).await?;
    Ok((StatusCode::CREATED, Json(group)).into_response())
}

pub(super) async fn update(
    State(app): State<App>,
    Path(guid): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    app.allow(request.headers(), scopes::GROUPS_WRITE).await?;
    let wanted: RouterGroup = read(request).await?;
    readable(&app)?;
    let missing = || Refusal::not_found(format!("router group '{guid}' does not exist"));
    let mut group = Groups(&app.db).get(&guid).await?.ok_or_else(missing)?;
    if group.reservable_ports != wanted.reservable_ports {
        group.reservable_ports = wanted.reservable_ports;
        let valid = group.validate(&app.reserved_ports);
        valid.map_err(|error| Refusal::process(&error.to_string()))?;
        writable(&app)?;
        if !Groups(&app.db).set_ports(&guid, &group.reservable_ports).await? {
            return Err(missing());
        }
    }
    let mut response = Json(group).into_response();
    let warning: String = form_urlencoded::byte_serialize(WARNING.as_bytes()).collect();
    if let Ok(warning) = HeaderValue::try_from(warning) {
        response.headers_mut().insert("x-cf-warnings", warning);
    }
    Ok(response)
}

pub(super) async fn remove(
    State(app): State<App>,
    Path(guid): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    app.allow(&headers, scopes::GROUPS_WRITE).await?;
    writable(&app)?;
    readable(&app)?;
    let is_removed = Groups(&app.db).remove(&guid).await?;
    // The original says nothing more about a group that is not there.
    Ok(if is_removed {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    })
}

/// All groups, unless a backup has locked them.
pub(super) async fn all(app: &App) -> Result<Vec<RouterGroup>, Refusal> {
    readable(app)?;
    Ok(Groups(&app.db).all().await?)
}

fn readable(app: &App) -> Result<(), Refusal> {
    let is_locked = app.locks.reads.load(Ordering::Relaxed);
    if is_locked { Err(Refusal::locked()) } else { Ok(()) }
}

fn writable(app: &App) -> Result<(), Refusal> {
    let is_locked = app.locks.writes.load(Ordering::Relaxed);
    if is_locked { Err(Refusal::locked()) } else { Ok(()) }
}
