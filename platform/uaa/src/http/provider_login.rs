//! Logins by an external provider: there (`/login/oidc/:name`) and back (`/login/callback/:name`).
//!
//! What comes back counts only with the state that we gave, once, within some minutes, in the browser that began.

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;

use crate::app::App;
use crate::http::browser::{self, Browser, LOGIN, safe_continue};
use crate::http::error::ApiError;
use crate::http::form::Form;
use crate::http::login::see;
use crate::secrets;
use crate::store::ExternalLogin;

/// How long somebody may take at a provider (ms).
const PATIENCE: i64 = 10 * 60 * 1000;

/// `GET /login/oidc/:name`
pub(crate) async fn begin(
    State(app): State<App>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let provider = app.providers.by_name(&name).ok_or_else(unknown)?;
    let query = Form::query(query.as_deref())?;
    let (state, binding) = (secrets::random_token::<32>(), secrets::random_token::<32>());
    let login = ExternalLogin {
        provider: name,
        binding_hash: secrets::digest(&binding),
        nonce: secrets::random_token::<24>(),
        verifier: secrets::random_token::<48>(),
        continue_to: safe_continue(query.get("continue")),
        expires_at: app.store.now() + PATIENCE,
    };
    let url = match provider.authorization_url(&login, &state).await {
        Ok(url) => url,
        Err(error) => {
            tracing::error!(
                provider = provider.name(),
                error = weir_error::chain(&error),
                "a provider cannot be used"
            );
            return Ok(see("/login?error=provider"));
        }
    };
    app.store.add_login(&secrets::digest(&state), &login).await?;
    let mut response = see(url.as_str());
    browser::set(&mut response, LOGIN, &binding, Some(600));
    Ok(response)
}

/// `GET /login/callback/:name`
pub(crate) async fn finish(
    State(app): State<App>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Result<Response, ApiError> {
    let provider = app.providers.by_name(&name).ok_or_else(unknown)?;
    let query = Form::query(query.as_deref())?;
    let state = query.filled("state").unwrap_or_default();
    let login = app.store.take_login(&secrets::digest(state)).await?;
    let binding = browser::cookie(&parts.headers, LOGIN).unwrap_or_default();
    let login = login.filter(|login| {
        login.provider == provider.name() && secrets::equal(&login.binding_hash, &secrets::digest(&binding))
    });
    let Some(login) = login else {
        return Ok(see("/login?error=late"));
    };
    // RFC 9207: an answer that is somebody else's is none.
    let mixed_up = query.filled("iss").is_some_and(|issuer| issuer != provider.issuer());
    let code = query
        .filled("code")
        .filter(|_| !mixed_up && query.get("error").is_none());
    let Some(code) = code else {
        tracing::info!(provider = provider.name(), "a login at a provider was not finished");
        return Ok(see("/login?error=provider"));
    };
    let identity = match provider.redeem(code, &login, app.now()).await {
        Ok(identity) => identity,
        Err(error) => {
            tracing::warn!(
                provider = provider.name(),
                error = weir_error::chain(&error),
                "a login at a provider failed"
            );
            app.metrics.login("failed");
            return Ok(see("/login?error=provider"));
        }
    };
    let user = match app.user_of(provider, &identity).await {
        Ok(user) => user,
        Err(error) if error.status == StatusCode::FORBIDDEN => return Ok(see("/login?error=denied")),
        Err(error) => return Err(error),
    };
    tracing::info!(user = user.id, provider = provider.name(), "a user has logged in");
    app.metrics.login("ok");
    let mut response = see(&login.continue_to);
    Browser::of(&parts).log_in(&app, &user, &mut response).await?;
    browser::set(&mut response, LOGIN, "", Some(0));
    Ok(response)
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "There is no such provider")
}
