//! `PUT /Users/:id/password`

use axum::Json;
use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::users::find;
use crate::app::App;
use crate::http::unread::{self, Unread};
use crate::http::{ApiError, bearer};
use crate::login::{OURS, principal};

/// Longest password.
const LONGEST: usize = 255;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    old_password: Option<String>,
    password: String,
}

/// Changes a password: one's own with the old one, or somebody's as an administrator or as a client that may. Ends all
/// tokens and sessions of the user.
pub(crate) async fn change(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Unread,
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
    if user.origin != OURS {
        return Err(ApiError::invalid_scim("The password of this user is somewhere else"));
    }
    if own {
        let old = change.old_password.as_deref().filter(|old| !old.is_empty());
        let old = old.ok_or_else(|| ApiError::bad_request("access_denied", "Previous password is required"))?;
        // Counted as a login: a stolen token is no way to guess passwords.
        let principal = principal(OURS, &user.user_name);
        let Some(_turn) = app.callers.take(&principal).await else {
            return Err(ApiError::too_many(std::time::Duration::from_secs(1)));
        };
        if app.store.failures(&principal).await?.locked_until > app.store.now() {
            return Err(ApiError::locked());
        }
        if !app.hasher.verify(user.password_hash.as_deref(), old).await? {
            app.store.count_failure(&principal, app.config.lockout).await?;
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "Old password is incorrect",
            ));
        }
    }
    app.check_policy(&change.password)?;
    if user.password_hash.is_some()
        && app
            .hasher
            .verify(user.password_hash.as_deref(), &change.password)
            .await?
    {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_password",
            "Your new password cannot be the same as the old password.",
        ));
    }
    let hash = app.hasher.hash(&change.password).await?;
    if !app.store.set_password(&user, &hash).await? {
        return Err(ApiError::overtaken());
    }
    app.revoked.catch_up().await;
    tracing::info!(caller = caller.name(), user = id, "a password was changed");
    Ok(Json(json!({"status": "ok", "message": "password updated"})))
}

impl App {
    /// Whether a password may be one.
    pub(crate) fn check_policy(&self, password: &str) -> Result<(), ApiError> {
        let shortest = self.config.shortest_password;
        let problem = if password.chars().count() < shortest {
            format!("Password must be at least {shortest} characters in length.")
        } else if password.len() > LONGEST {
            format!("Password must be no more than {LONGEST} bytes in length.")
        } else {
            return Ok(());
        };
        Err(ApiError::bad_request("invalid_password", problem.clone()).with("message", problem))
    }
}
