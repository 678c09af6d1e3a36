//! The keys that sign: for everybody. And a new one, for operators.

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

/// It was written when the keys changed.
fn document(body: Bytes) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `POST /weir/v1/keys/rotate`: signs with a new key from now on.
pub(crate) async fn rotate(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let caller = bearer::caller_with(&app, &headers, &[]).await?;
    let kid = app.keys.rotate().await?;
    tracing::info!(caller = caller.name(), kid, "a new key signs tokens");
    Ok(Json(json!({ "kid": kid })))
}
