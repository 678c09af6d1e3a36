//! What clients of the original ask for and this UAA does not have, said so: a request must not be taken for another one,
//! for a group called `External` or a client called `tx`.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use weir_platform_uaa_core::issue::ZONE;

use crate::http::ApiError;
use crate::http::error::shown;

/// The zone that a request is for, by its id and by its subdomain.
const ZONE_HEADERS: [&str; 2] = ["x-identity-zone-id", "x-identity-zone-subdomain"];

/// `/Groups/External`
pub(crate) async fn external_groups() -> ApiError {
    absent(
        "Groups of providers are mapped in the configuration of the provider (`providers`), and by `origin` in memberships",
    )
}

/// `/oauth/clients/tx`, `/oauth/clients/restricted`
pub(crate) async fn several_clients() -> ApiError {
    absent("Clients are made and changed one at a time: use /oauth/clients and /oauth/clients/:id")
}

/// `/oauth/clients/:id/clientjwt`
pub(crate) async fn client_keys() -> ApiError {
    absent("Clients show secrets and no keys of their own: use /oauth/clients/:id/secret")
}

/// `PUT /oauth/clients/:id/meta`
pub(crate) async fn client_metadata() -> ApiError {
    absent("There is no page of applications; a client's name is changed with PUT /oauth/clients/:id")
}

/// `/identity-zones`, `/identity-providers`
pub(crate) async fn zones() -> ApiError {
    absent("There is one zone, whose providers are in the configuration (`providers`)")
}

/// Refuses requests for another zone than ours: they would be done in this one.
pub(crate) async fn one_zone(request: Request, next: Next) -> Response {
    match other_zone(request.headers()) {
        None => next.run(request).await,
        Some(zone) => ApiError::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("Identity zone with id/subdomain {} does not exist", shown(&zone)),
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

fn absent(instead: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", instead)
}
