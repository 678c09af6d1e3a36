//! What a route must be. The rules, their order and their texts are those of the original's validator; only the bound of a
//! text's length is ours.

use weir_routing_api_client::ApiError;
use weir_routing_api_client::models::{Route, RouterGroup, TcpRoute};

mod url;

/// Most bytes of one text of a route.
const LONGEST: usize = 2048;

/// Checks HTTP routes that are registered; each has a time to live.
pub(crate) fn new_routes(routes: &[Route], max_ttl: i64) -> Result<(), ApiError> {
    for route in routes {
        http_route(route)?;
        let ttl = route.ttl.unwrap_or(max_ttl);
        if ttl > max_ttl {
            return invalid_route(format!("Max ttl is {max_ttl}"));
        }
        if ttl <= 0 {
            return invalid_route("Request requires a ttl greater than 0");
        }
    }
    Ok(())
}

/// Checks HTTP routes that are removed.
pub(crate) fn old_routes(routes: &[Route]) -> Result<(), ApiError> {
    routes.iter().try_for_each(http_route)
}

fn http_route(route: &Route) -> Result<(), ApiError> {
    if let Err(reason) = url::check(&route.route) {
        return invalid_route(reason);
    }
    service_url(&route.route_service_url)?;
    if route.port == 0 {
        return invalid_route("Each route request requires a port greater than 0");
    }
    if route.route.is_empty() {
        return invalid_route("Each route request requires a valid route");
    }
    if route.ip.is_empty() {
        return invalid_route("Each route request requires an IP");
    }
    let texts = [&route.route, &route.ip, &route.log_guid, &route.route_service_url];
    match too_long(&texts) {
        Some(reason) => invalid_route(reason),
        None => Ok(()),
    }
}

fn service_url(url: &str) -> Result<(), ApiError> {
    let invalid = |reason: String| Err(ApiError::new(ApiError::ROUTE_SERVICE_URL_INVALID, reason));
    if url.is_empty() {
        return Ok(());
    }
    if !url.starts_with("https://") {
        return invalid("Route service url must use HTTPS.".to_owned());
    }
    url::check(url).or_else(invalid)
}

/// Checks a TCP route that is registered: by itself, by the groups that there are, and by the other routes of its frontend.
pub(crate) fn new_tcp_route(
    route: &TcpRoute,
    at_frontend: &[TcpRoute],
    groups: &[RouterGroup],
    max_ttl: i64,
) -> Result<(), ApiError> {
    tcp_route(route, Some(max_ttl))?;
    if !groups.iter().any(|group| group.guid == route.router_group_guid) {
        return invalid_tcp(format!("router_group_guid: {} not found", route.router_group_guid));
    }
    let ends_tls = route.terminate_frontend_tls;
    if at_frontend.iter().any(|other| other.terminate_frontend_tls != ends_tls) {
        return invalid_tcp(format!("terminate_frontend_tls: {ends_tls} not allowed"));
    }
    Ok(())
}

/// Checks TCP routes that are removed.
pub(crate) fn old_tcp_routes(routes: &[TcpRoute]) -> Result<(), ApiError> {
    routes.iter().try_for_each(|route| tcp_route(route, None))
}

fn tcp_route(route: &TcpRoute, max_ttl: Option<i64>) -> Result<(), ApiError> {
    let invalid = |rule: &str| invalid_tcp(format!("{rule}. RouteMapping=[{route}]"));
    if let Some(reason) = too_long(&[
        &route.router_group_guid,
        &route.backend_ip,
        &route.instance_id,
        &route.isolation_segment,
        &route.alpns,
        route.backend_sni_hostname.as_ref().unwrap_or(&String::new()),
        route.sni_rewrite_hostname.as_ref().unwrap_or(&String::new()),
    ]) {
        return invalid_tcp(reason);
    }
    if route.router_group_guid.is_empty() {
        return invalid("Each tcp mapping requires a non empty router group guid");
    }
    if route.port == 0 {
        return invalid("Each tcp mapping requires a positive external port");
    }
    if route.backend_ip.is_empty() {
        return invalid("Each tcp mapping requires a non empty backend ip");
    }
    if route.backend_port == 0 && route.backend_tls_port <= 0 {
        return invalid("Each tcp mapping requires a positive backend port");
    }
    if route.backend_tls_port > i64::from(u16::MAX) {
        return invalid(
            "Each tcp mapping with a backend TLS port requires that port to be less than or equal to 65535",
        );
    }
    if let Some(max_ttl) = max_ttl {
        let ttl = route.ttl.unwrap_or(max_ttl);
        if ttl > max_ttl {
            return invalid(&format!(
                "Each tcp mapping requires TTL to be less than or equal to {max_ttl}"
            ));
        }
        if ttl <= 0 {
            return invalid_tcp("Each tcp route mapping requires a ttl greater than 0");
        }
    }
    if !route.alpns.is_empty() && !route.terminate_frontend_tls {
        return invalid("Each tcp mapping can define ALPNs only when TerminateFrontendTLS is enabled");
    }
    Ok(())
}

fn too_long(texts: &[&String]) -> Option<String> {
    let is_long = texts.iter().any(|text| text.len() > LONGEST);
    is_long.then(|| format!("Each text of a route may have {LONGEST} bytes"))
}

fn invalid_route(reason: impl Into<String>) -> Result<(), ApiError> {
    Err(ApiError::new(ApiError::ROUTE_INVALID, reason))
}

fn invalid_tcp(reason: impl Into<String>) -> Result<(), ApiError> {
    Err(ApiError::new(ApiError::TCP_ROUTE_MAPPING_INVALID, reason))
}

#[cfg(test)]
mod tests;
