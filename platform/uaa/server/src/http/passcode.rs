//! `GET /passcode`: a one-time code for `cf login --sso`.
//!
//! Only a browser session gets one. A passcode gives tokens of any client with their whole life time, which the holder of a token
//! must not get.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::secrets;

use crate::http::browser::Browser;
use crate::http::error::ApiError;
use crate::http::login::redirect_to;
use crate::http::pages;

pub(crate) async fn passcode(State(app): State<App>, parts: Parts) -> Result<Response, ApiError> {
    let (user, auth_time) = match Browser::of(&parts).logged_in(&app).await? {
        Some(logged_in) => (logged_in.user, logged_in.auth_time),
        None if pages::is_wanted(&parts.headers) => return Ok(redirect_to("/login?continue=%2Fpasscode")),
        None => return Err(ApiError::no_token()),
    };
    // 80 bits are enough for a code that is valid for minutes.
    let code = secrets::random_readable::<16>();
    let validity = app.config.tokens.passcode;
    let expires_at = app.store.now() + weir_platform_uaa_core::issue::seconds(validity) * 1000;
    let hash = secrets::digest(&code);
    if !app.store.add_passcode(&hash, &user, auth_time, expires_at).await? {
        return Err(ApiError::changed_meanwhile());
    }
    tracing::info!(user = user.id, "a passcode was created");
    if pages::is_wanted(&parts.headers) {
        return Ok(pages::passcode(&code, validity.as_secs().div_ceil(60)));
    }
    let mut response = Json(code).into_response();
    response
        .headers_mut()
        .insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(response)
}
