//! `PUT /Users/:id/password`: changes a password.

use axum::Json;
use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::login::UAA_ORIGIN;
use weir_platform_uaa_core::refusal::Refusal;

use super::body;
use super::users::find;
use crate::http::unread::{self, UnreadBody};
use crate::http::{ApiError, bearer};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    old_password: Option<String>,
    password: String,
}

/// Changes a password, and revokes all tokens and sessions of the user. Users change their own with the old one. Administrators
/// and clients with `password.write` change any.
pub(crate) async fn change(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &["password.write"]).await?;
    let change: Change = body::json(body.within(unread::SMALL).await?)?;
    let own = caller.is_user(&id);
    let is_client = caller.claims.user_id.is_none();
    if !own && !is_client && !caller.has("uaa.admin") {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "access_denied",
            "Bad request. Not permitted to change another user's password",
        ));
    }
    let user = find(&app, &id).await?;
    if user.origin != UAA_ORIGIN {
        return Err(ApiError::invalid_scim(
            "The password of this user is kept by another origin",
        ));
    }
    if own {
        let old = change.old_password.as_deref().filter(|old| !old.is_empty());
        let old = old.ok_or_else(|| ApiError::bad_request("access_denied", "Previous password is required"))?;
        app.check_password(&user, old).await.map_err(|refusal| match refusal {
            Refusal::BadCredentials => {
                ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "Old password is incorrect")
            }
            other => other.into(),
        })?;
    }
    app.change_password(&user, &change.password).await?;
    tracing::info!(caller = caller.name(), user = id, "a password was changed");
    Ok(Json(json!({"status": "ok", "message": "password updated"})))
}
