//! TCP routes: list, registration, removal.

use axum::Json;
use axum::extract::{RawQuery, Request, State};
use http::{HeaderMap, StatusCode};
use url::form_urlencoded;
use weir_routing_api_client::ApiError;
use weir_routing_api_client::models::TcpRoute;

use super::{App, Refusal, groups, read_list, scopes};
use crate::store::Entry as _;
use crate::validate;

pub(super) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Vec<TcpRoute>>, Refusal> {
    app.allow(&headers, scopes::ROUTES_READ).await?;
    let mut routes = app.tcp.all().await?;
    let query = query.unwrap_or_default();
    let segments: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "isolation_segment")
        .map(|(_, segment)| segment)
        .collect();
    if !segments.is_empty() {
        routes.retain(|route| segments.iter().any(|segment| *segment == route.isolation_segment));
    }
    Ok(Json(routes))
}

pub(super) async fn upsert(State(app): State<App>, request: Request) -> Result<StatusCode, Refusal> {
    app.allow(request.headers(), scopes::ROUTES_WRITE).await?;
    let mut routes: Vec<TcpRoute> = read_list(request).await?;
    for route in &mut routes {
        route.ttl.get_or_insert(app.max_ttl);
    }
    let groups = groups::all(&app).await?;
    for route in &routes {
        let mut others = Vec::new();
        if let Some(frontend) = route.frontend() {
            others = app.tcp.at_frontend(&frontend).await?;
        }
        validate::new_tcp_route(route, &others, &groups, app.max_ttl).map_err(invalid)?;
    }
    app.tcp.upsert(routes).await?;
    Ok(StatusCode::CREATED)
}

pub(super) async fn remove(State(app): State<App>, request: Request) -> Result<StatusCode, Refusal> {
    app.allow(request.headers(), scopes::ROUTES_WRITE).await?;
    let routes: Vec<TcpRoute> = read_list(request).await?;
    validate::old_tcp_routes(&routes).map_err(invalid)?;
    app.tcp.delete(routes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The original answers an invalid TCP route as a request that it cannot process, and does not say the error's own name.
fn invalid(error: ApiError) -> Refusal {
    Refusal::process(&error.message)
}
