//! The HTTP route to the routing API itself, for routers that read their routes here.

use weir_db::DbError;
use weir_error::chain;
use weir_routing_api_client::models::Route;

use crate::Config;
use crate::routes::Routes;

/// The route of the configuration; `None` if there is to be none.
pub(crate) fn of(config: &Config, port: Option<u16>) -> Option<Route> {
    let written = &config.own_route;
    let port = port.filter(|_| !written.route.is_empty())?;
    Some(Route {
        route: written.route.clone(),
        port,
        ip: written.ip.clone(),
        ttl: Some(config.max_ttl()),
        log_guid: written.log_guid.clone(),
        ..Route::default()
    })
}

/// Registers the route, and again whenever half of its time has passed. Never ends.
pub(crate) async fn keep(routes: &Routes<Route>, route: &Route) {
    loop {
        if let Err(error) = routes.upsert(vec![route.clone()]).await {
            tracing::warn!(error = chain(&error), "own route cannot be registered");
        }
        tokio::time::sleep(half(route)).await;
    }
}

/// Removes the route.
pub(crate) async fn remove(routes: &Routes<Route>, route: &Route) -> Result<(), DbError> {
    routes.delete(vec![route.clone()]).await
}

fn half(route: &Route) -> std::time::Duration {
    let seconds = u64::try_from(route.ttl.unwrap_or_default()).unwrap_or_default();
    std::time::Duration::from_secs(seconds) / 2
}
