//! Users and groups by SCIM 1.0, in the dialect of the original.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, SecondsFormat};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use crate::http::ApiError;
use crate::http::form::Form;

pub(crate) mod body;
pub(crate) mod filter;
pub(crate) mod groups;
pub(crate) mod ids;
pub(crate) mod members;
pub(crate) mod password;
pub(crate) mod users;

/// The schema that answers name.
const SCHEMA: &str = "urn:scim:schemas:core:1.0";

/// The resources of a page if the request names no number.
const PAGE: i64 = 100;
/// The most resources of a page.
const LARGEST_PAGE: i64 = 500;

/// The part of a list that a request asks for.
#[derive(Debug)]
pub(crate) struct Page {
    /// The number of the first resource, from 1.
    pub(crate) start: i64,
    pub(crate) count: i64,
}

impl Page {
    /// The most resources of a page.
    pub(crate) const LARGEST: i64 = LARGEST_PAGE;

    pub(crate) fn of(query: &Form) -> Result<Self, ApiError> {
        let number = |name: &str, otherwise: i64| match query.filled(name) {
            None => Ok(otherwise),
            Some(text) => text
                .parse::<i64>()
                .map_err(|_| ApiError::invalid_scim(format!("{name} must be a number"))),
        };
        Ok(Self {
            start: number("startIndex", 1)?.max(1),
            count: number("count", PAGE)?.clamp(1, LARGEST_PAGE),
        })
    }

    pub(crate) const fn offset(&self) -> i64 {
        self.start - 1
    }

    /// Returns the document of a page of resources.
    pub(crate) fn document(&self, resources: Vec<Value>, total: i64, schema: &str) -> Value {
        json!({
            "resources": resources,
            "startIndex": self.start,
            "itemsPerPage": self.count,
            "totalResults": total,
            "schemas": [schema],
        })
    }
}

/// Removes the members that `attributes=id,userName` of the query does not name.
pub(crate) fn reduced(mut resource: Value, query: &Form) -> Value {
    let Some(wanted) = query.filled("attributes") else {
        return resource;
    };
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).collect();
    if let Some(members) = resource.as_object_mut() {
        members.retain(|name, _| {
            wanted.iter().any(|known| {
                known
                    .split('.')
                    .next()
                    .is_some_and(|first| first.eq_ignore_ascii_case(name))
            })
        });
    }
    resource
}

/// Returns the `order by` of `sortBy` and `sortOrder`. Only names of the table reach the SQL.
pub(crate) fn order(query: &Form, attributes: &[filter::Attribute], otherwise: &str) -> Result<String, ApiError> {
    let column = match query.filled("sortBy") {
        None => otherwise,
        Some(name) => filter::column(attributes, name)
            .ok_or_else(|| ApiError::invalid_scim(format!("Unknown attribute: {}", super::error::excerpt(name))))?,
    };
    let direction = match query
        .filled("sortOrder")
        .unwrap_or("ascending")
        .to_ascii_lowercase()
        .as_str()
    {
        "ascending" => "asc",
        "descending" => "desc",
        _ => return Err(ApiError::invalid_scim("sortOrder must be ascending or descending")),
    };
    Ok(format!("{column} {direction}"))
}

/// Returns the version that a change expects; `None` for any. It is in `If-Match`, or else in `meta` of the body: uaa-cli sends
/// back the document that it read, without a header.
pub(crate) fn version_to_change(
    headers: &HeaderMap,
    written: Option<i64>,
    method: &str,
) -> Result<Option<i64>, ApiError> {
    match (headers.contains_key(header::IF_MATCH), written) {
        (true, _) => if_match(headers),
        (false, Some(version)) => Ok(Some(version)),
        (false, None) => Err(ApiError::invalid_scim(format!("Missing If-Match for {method}"))),
    }
}

/// Returns the version that `If-Match` demands; `None` for any.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let value = value.to_str().unwrap_or_default();
    let value = value.trim().trim_start_matches("W/").trim_matches('"');
    if value == "*" {
        return Ok(None);
    }
    value
        .parse()
        .map(Some)
        .map_err(|_| ApiError::invalid_scim("Invalid version in If-Match"))
}

/// Returns a resource with its version as `ETag`, in the form of the original.
pub(crate) fn tagged(version: i64, document: Value) -> Response {
    let mut response = Json(document).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The resource was changed since the client read it.
pub(crate) fn outdated() -> ApiError {
    ApiError::new(
        http::StatusCode::PRECONDITION_FAILED,
        "scim_resource_version_conflict",
        "The resource has another version by now",
    )
}

/// Returns a time in milliseconds since 1970 in the form of SCIM.
pub(crate) fn time(millis: i64) -> String {
    DateTime::from_timestamp_millis(millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Returns the member `meta` of a resource.
pub(crate) fn meta(version: i64, created: i64, modified: i64) -> Value {
    json!({"version": version, "created": time(created), "lastModified": time(modified)})
}
