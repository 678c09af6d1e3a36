//! The public keys for verifiers, and their rotation by operators.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;

use crate::http::ApiError;
use crate::http::bearer;

/// `GET /token_keys`
pub(crate) async fn all(State(app): State<App>) -> Response {
    document(app.keys.document())
}

/// `GET /token_key`
pub(crate) async fn active(State(app): State<App>) -> Response {
    document(app.keys.active_document())
}

/// Returns a prepared JSON body, which is made when the keys change.
fn document(body: Bytes) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `POST /weir/v1/keys/rotate`: replaces the signing key.
pub(crate) async fn rotate(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &[]).await?;
    let kid = app.keys.rotate().await?;
    tracing::info!(caller = caller.name(), kid, "a new key signs tokens");
    Ok(Json(json!({ "kid": kid })))
}
