//! `GET /weir/v1/rights[?client_id=…[&user_id=…]]`: the sources that a caller may read, by groups `logs.read.<source id>`.
//!
//! ```text
//! {"sources": ["3f5cbb6b-…", "web"]}
//! ```
//!
//! Without parameters, the answer is for the bearer of the token. Servers of the stack, as clients with `uaa.resource`, ask for
//! the user and the client that a token names. The answer is what both the user's groups and the client's scopes allow, or,
//! without `user_id`, what the client's own authorities allow. An absent or inactive user may read nothing.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::scopes;

use crate::http::form::Form;
use crate::http::{ApiError, bearer, check};

/// The approximate limit of the answer in bytes. Its readers accept 4 MiB.
const LONGEST: usize = 3 << 20;

pub(crate) async fn rights(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = Form::query(query.as_deref())?;
    let held = match (query.filled("client_id"), query.filled("user_id")) {
        (Some(client), user) => {
            check::require_resource(&app, &headers, &Form::default()).await?;
            held_by(&app, client, user).await?
        }
        (None, Some(_)) => return Err(ApiError::invalid_request("user_id needs client_id beside it")),
        (None, None) => {
            let claims = bearer::caller(&app, &headers).await?.claims;
            let shown: BTreeSet<String> = claims.scope.into_iter().collect();
            let mut held = held_by(&app, &claims.client_id, claims.user_id.as_deref()).await?;
            held.retain(|scope| scopes::covers(&shown, scope));
            held
        }
    };
    let sources = scopes::sources(&held);
    if sources.iter().map(|source| source.len() + 3).sum::<usize>() > LONGEST {
        return Err(ApiError::invalid_request(
            "There are more sources than an answer can name: a reader of so many sources needs the scope logs.admin",
        ));
    }
    let mut response = Json(json!({ "sources": sources })).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns the scopes of a client, or of a user with a client; none if one of them is absent or inactive.
async fn held_by(app: &App, client: &str, user: Option<&str>) -> Result<BTreeSet<String>, ApiError> {
    let Some(client) = app.store.client(client).await? else {
        return Ok(BTreeSet::new());
    };
    let Some(user) = user else {
        return Ok(scopes::held_by_client(&client.detail.authorities));
    };
    let user = app.store.user(user).await?;
    let Some(user) = user.filter(|user| user.active && client.accepts_origin(&user.origin)) else {
        return Ok(BTreeSet::new());
    };
    let groups = app.scopes_of(&user).await?;
    if !client.admits(&groups) {
        return Ok(BTreeSet::new());
    }
    Ok(scopes::held(&client.detail.scope, &groups))
}
