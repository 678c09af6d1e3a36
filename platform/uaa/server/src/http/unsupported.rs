//! Endpoints of the original that this UAA does not support. They have routes of their own, because their paths would
//! otherwise match others: a group with the id `External`, or a client with the id `tx`.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use weir_platform_uaa_core::issue::ZONE;

use crate::http::ApiError;
use crate::http::error::excerpt;

/// The headers that name the zone of a request, by id and by subdomain.
const ZONE_HEADERS: [&str; 2] = ["x-identity-zone-id", "x-identity-zone-subdomain"];

/// `/Groups/External`
pub(crate) async fn external_groups() -> ApiError {
    unsupported(
        "Groups of providers are mapped in the configuration of the provider (`providers`), and by `origin` in memberships",
    )
}

/// `/oauth/clients/tx`, `/oauth/clients/restricted`
pub(crate) async fn several_clients() -> ApiError {
    unsupported("Clients are created and changed one at a time: use /oauth/clients and /oauth/clients/:id")
}

/// `/oauth/clients/:id/clientjwt`
pub(crate) async fn client_keys() -> ApiError {
    unsupported("Clients have secrets and no keys: use /oauth/clients/:id/secret")
}

/// `PUT /oauth/clients/:id/meta`
pub(crate) async fn client_metadata() -> ApiError {
    unsupported("There is no page of applications; a client's name is changed with PUT /oauth/clients/:id")
}

/// `/identity-zones`, `/identity-providers`
pub(crate) async fn zones() -> ApiError {
    unsupported("There is one zone, whose providers are in the configuration (`providers`)")
}

/// Refuses requests for another zone, which would otherwise be done in the only zone.
pub(crate) async fn one_zone(request: Request, next: Next) -> Response {
    match other_zone(request.headers()) {
        None => next.run(request).await,
        Some(zone) => ApiError::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("Identity zone with id/subdomain {} does not exist", excerpt(&zone)),
        )
        .into_response(),
    }
}

fn other_zone(headers: &HeaderMap) -> Option<String> {
    ZONE_HEADERS
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .find(|zone| !zone.is_empty() && zone != ZONE)
}

fn unsupported(instead: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", instead)
}
