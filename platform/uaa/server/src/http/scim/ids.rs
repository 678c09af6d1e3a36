//! `GET /ids/Users`: looks up user names by id and ids by user name, for the Cloud Controller.

use axum::Json;
use axum::extract::{RawQuery, State};
use http::HeaderMap;
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;

use super::filter::{self, Attribute, Kind};
use super::{Page, SCHEMA, order};
use crate::http::form::Form;
use crate::http::{ApiError, bearer};

/// The attributes that a filter may compare. Others, such as email addresses, would let any user search for people.
const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "id",
        column: "id",
        kind: Kind::Exact,
    },
    Attribute {
        name: "userName",
        column: "user_key",
        kind: Kind::Lower,
    },
    Attribute {
        name: "origin",
        column: "origin",
        kind: Kind::Exact,
    },
];

pub(crate) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    bearer::caller_with(&app, &headers, &["scim.userids"]).await?;
    let query = Form::query(query.as_deref())?;
    let text = query
        .filled("filter")
        .ok_or_else(|| ApiError::invalid_scim("A filter must be given"))?;
    let mut condition = filter::parse_equality(text, ATTRIBUTES, app.store.dialect())
        .map_err(|_| ApiError::invalid_scim("The filter may compare id, userName and origin with eq only"))?;
    if query.filled("includeInactive") != Some("true") {
        condition.sql = format!("({}) and active = ?", condition.sql);
        condition.values.push(true.into());
    }
    let page = Page::of(&query)?;
    let order = order(&query, ATTRIBUTES, "user_key")?;
    let (users, total) = app
        .store
        .users(&condition.sql, condition.values, &order, page.offset(), page.count)
        .await?;
    let resources = users
        .into_iter()
        .map(|user| json!({"id": user.id, "userName": user.user_name, "origin": user.origin}))
        .collect();
    Ok(Json(page.document(resources, total, SCHEMA)))
}
