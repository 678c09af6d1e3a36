//! HTTP routes: list, registration, removal.

use axum::Json;
use axum::extract::{Request, State};
use http::{HeaderMap, StatusCode};
use weir_routing_api_client::models::Route;

use super::{App, Refusal, read_list, scopes};
use crate::validate;

pub(super) async fn list(State(app): State<App>, headers: HeaderMap) -> Result<Json<Vec<Route>>, Refusal> {
    app.allow(&headers, scopes::ROUTES_READ).await?;
    Ok(Json(app.http.all().await?))
}

pub(super) async fn upsert(State(app): State<App>, request: Request) -> Result<StatusCode, Refusal> {
    app.allow(request.headers(), scopes::ROUTES_WRITE).await?;
    let mut routes: Vec<Route> = read_list(request).await?;
    for route in &mut routes {
        route.ttl.get_or_insert(app.max_ttl);
    }
    validate::new_routes(&routes, app.max_ttl)?;
    app.http.upsert(routes).await?;
    Ok(StatusCode::CREATED)
}

pub(super) async fn remove(State(app): State<App>, request: Request) -> Result<StatusCode, Refusal> {
    app.allow(request.headers(), scopes::ROUTES_WRITE).await?;
    let routes: Vec<Route> = read_list(request).await?;
    validate::old_routes(&routes)?;
    app.http.delete(routes).await?;
    Ok(StatusCode::NO_CONTENT)
}
