//! `GET /weir/v1/rights[?client_id=…[&user_id=…]]`: which sources somebody may read, by their groups `logs.read.<source
//! id>`.
//!
//! ```text
//! {"sources": ["3f5cbb6b-…", "web"]}
//! ```
//!
//! Without parameters, the answer is for the bearer of the token that is shown. Servers of the stack, as clients with
//! `uaa.resource`, ask for the user and the client that a token names. The answer is then what the user's groups and
//! the client's scopes both allow, or, without `user_id`, what the client's own authorities allow. A user or client
//! that does not exist, or is not active, may read nothing.

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

/// Longest answer (bytes, about), so that its readers take it.
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
        (None, Some(_)) => return Err(ApiError::invalid_request("user_id stands beside client_id")),
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
            "There are more sources than an answer may name: whoever reads so many reads everything, with logs.admin",
        ));
    }
    let mut response = Json(json!({ "sources": sources })).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The scopes of a client, or of a user with it; none if they are not there or not active.
async fn held_by(app: &App, client: &str, user: Option<&str>) -> Result<BTreeSet<String>, ApiError> {
    let Some(client) = app.store.client(client).await? else {
        return Ok(BTreeSet::new());
    };
    let Some(user) = user else {
        return Ok(scopes::held_by_client(&client.detail.authorities));
    };
    let user = app.store.user(user).await?;
    let Some(user) = user.filter(|user| user.active && client.takes(&user.origin)) else {
        return Ok(BTreeSet::new());
    };
    let groups = app.scopes_of(&user).await?;
    if !client.admits(&groups) {
        return Ok(BTreeSet::new());
    }
    Ok(scopes::held(&client.detail.scope, &groups))
}
