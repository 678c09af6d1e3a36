//! Revokes tokens, and lists refresh tokens.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use weir_jose::Flaw;
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::{IssuedTo, LONGEST_VALIDITY, RefreshToken, secrets};

use crate::http::form::Form;
use crate::http::scim::time;
use crate::http::unread::UnreadBody;
use crate::http::{ApiError, bearer, client_auth};

/// The scope to revoke all tokens.
const REVOKE: &str = "tokens.revoke";

/// The scope to list all tokens.
const LIST: &str = "tokens.list";

/// `DELETE /oauth/token/revoke/:jti`. `cf logout` sends the token itself as bearer token, an access token or a refresh token.
pub(crate) async fn one(
    State(app): State<App>,
    Path(jti): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let shown = bearer::token(&headers)?.ok_or_else(ApiError::no_token)?;
    if let Some(refresh) = app.store.refresh_token(&secrets::digest(shown)).await? {
        // A refresh token may revoke only itself.
        if refresh.jti != jti || refresh.revoked_at.is_some() {
            return Err(Flaw::Revoked.into());
        }
        app.store.end_family(&refresh.user_id, &refresh.family).await?;
        return Ok(StatusCode::OK);
    }
    let (claims, _) = bearer::verify(&app, shown).await?;
    // A token may revoke itself, whatever its scopes: `cf logout` has no others.
    if claims.jti == jti {
        end_token(&app, &claims).await?;
        return Ok(StatusCode::OK);
    }
    let caller = bearer::Caller { claims };
    if jti.ends_with("-r") {
        let refresh = app.store.refresh_token_by_jti(&jti).await?;
        let own = refresh.as_ref().is_some_and(|refresh| caller.is_user(&refresh.user_id));
        if !own {
            caller.require(&[REVOKE])?;
        }
        let refresh =
            refresh.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "invalid_token", "There is no such token"))?;
        app.store.end_family(&refresh.user_id, &refresh.family).await?;
        return Ok(StatusCode::OK);
    }
    // Access tokens are not stored, so the owner of a `jti` is not known.
    caller.require(&[REVOKE])?;
    app.store.revoke_token(&jti, app.now() + LONGEST_VALIDITY, None).await?;
    app.revoked.catch_up().await;
    tracing::info!(caller = caller.name(), "a token was revoked");
    Ok(StatusCode::OK)
}

/// `GET` or `DELETE /oauth/token/revoke/user/:id`
pub(crate) async fn user(
    State(app): State<App>,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let caller = bearer::caller(&app, &headers).await?;
    if !caller.is_user(&user) {
        caller.require(&[REVOKE])?;
    }
    if !app.store.end_user(&user).await? {
        return Err(ApiError::scim_not_found("User", &user));
    }
    app.revoked.catch_up().await;
    tracing::info!(caller = caller.name(), user, "the tokens of a user were revoked");
    Ok(StatusCode::OK)
}

/// `GET` or `DELETE /oauth/token/revoke/client/:id`
pub(crate) async fn client(
    State(app): State<App>,
    Path(client): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let caller = bearer::caller(&app, &headers).await?;
    let own = caller.claims.user_id.is_none() && caller.claims.client_id == client;
    if !own {
        caller.require(&[REVOKE])?;
    }
    if !app.store.end_client(&client).await? {
        return Err(super::clients::not_found(&client));
    }
    app.revoked.catch_up().await;
    tracing::info!(caller = caller.name(), client, "the tokens of a client were revoked");
    Ok(StatusCode::OK)
}

/// `GET` or `DELETE /oauth/token/revoke/user/:id/client/:id`
pub(crate) async fn user_of_client(
    State(app): State<App>,
    Path((user, client)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let caller = bearer::caller(&app, &headers).await?;
    if !caller.is_user(&user) {
        caller.require(&[REVOKE])?;
    }
    // Revocations are kept by all verifiers. Those of unknown clients could be created without limit.
    if app.store.client(&client).await?.is_none() {
        return Err(super::clients::not_found(&client));
    }
    if !app.store.end_user_of_client(&user, &client).await? {
        return Err(ApiError::scim_not_found("User", &user));
    }
    app.revoked.catch_up().await;
    tracing::info!(
        caller = caller.name(),
        user,
        client,
        "the tokens of a user with a client were revoked"
    );
    Ok(StatusCode::OK)
}

/// `POST /oauth/revoke` (RFC 7009): a client revokes its own token. A token of another client is not revoked, and the answer is
/// 200 for both, so that it does not tell whether a token exists.
pub(crate) async fn by_client(
    State(app): State<App>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Response, ApiError> {
    let form = Form::posted(&headers, body).await?;
    let requester = client_auth::client(&app, &headers, &form).await?;
    let token = form.required("token")?;
    if let Some(refresh) = app.store.refresh_token(&secrets::digest(token)).await? {
        if refresh.client_id == requester.client.id {
            app.store.end_family(&refresh.user_id, &refresh.family).await?;
        }
    } else if let Ok((claims, _)) = bearer::verify(&app, token).await
        && claims.client_id == requester.client.id
    {
        end_token(&app, &claims).await?;
    }
    Ok(StatusCode::OK.into_response())
}

/// `GET /oauth/token/list/user/:id`
pub(crate) async fn list_user(
    State(app): State<App>,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller(&app, &headers).await?;
    if !caller.is_user(&user) {
        caller.require(&[LIST])?;
    }
    let tokens = app.store.refresh_tokens(Some(&user), None).await?;
    Ok(Json(tokens.into_iter().map(listed).collect()))
}

/// `GET /oauth/token/list/client/:id`
pub(crate) async fn list_client(
    State(app): State<App>,
    Path(client): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    bearer::caller_with(&app, &headers, &[LIST]).await?;
    let tokens = app.store.refresh_tokens(None, Some(&client)).await?;
    Ok(Json(tokens.into_iter().map(listed).collect()))
}

fn listed(token: RefreshToken) -> Value {
    json!({
        "tokenId": token.jti,
        "clientId": token.client_id,
        "userId": token.user_id,
        "format": "jwt",
        "responseType": "REFRESH_TOKEN",
        "scope": token.scopes.join(" "),
        "issuedAt": time(token.issued_at),
        "expiresAt": time(token.expires_at),
    })
}

/// Revokes a verified access token.
async fn end_token(app: &App, claims: &bearer::Claims) -> Result<(), ApiError> {
    let issued_to = IssuedTo {
        user: claims.user_id.as_deref(),
        client: &claims.client_id,
    };
    app.store.revoke_token(&claims.jti, claims.exp, Some(issued_to)).await?;
    // The caller may check the token at once, so this node must know the revocation before it answers.
    app.revoked.catch_up().await;
    Ok(())
}
