//! `GET /userinfo`: the user of the token (OpenID Connect Core 5.3).

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;

use crate::http::{ApiError, bearer};

pub(crate) async fn userinfo(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller(&app, &headers).await?;
    if !caller.has("openid") {
        return Err(ApiError::insufficient_scope(&["openid"]));
    }
    let id = caller
        .claims
        .user_id
        .as_deref()
        .ok_or_else(|| ApiError::insufficient_scope(&["openid"]))?;
    let user = app.store.user(id).await?.filter(|user| user.active);
    let user = user.ok_or_else(|| ApiError::invalid_token("The token's user is gone"))?;
    let mut info = json!({
        "user_id": user.id,
        "sub": user.id,
        "user_name": user.user_name,
        "preferred_username": user.user_name,
        "email": user.email(),
        "email_verified": user.verified,
        "origin": user.origin,
        "previous_logon_time": user.previous_logon,
    });
    let optional = [
        ("given_name", user.given_name.clone()),
        ("family_name", user.family_name.clone()),
        ("name", user.full_name()),
        ("phone_number", user.phones.first().cloned()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            info[name] = value.into();
        }
    }
    if caller.has("roles") {
        let groups = app.memberships(&user).await?;
        info["roles"] = groups
            .into_iter()
            .map(|group| Value::from(group.display_name))
            .collect();
    }
    Ok(Json(info))
}
