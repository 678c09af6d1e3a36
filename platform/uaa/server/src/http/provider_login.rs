//! Logins at an external provider: the redirect to it (`/login/oidc/:name`) and the callback (`/login/callback/:name`).
//!
//! A callback must repeat the `state`, within 10 minutes, in the browser that began the login. The state of the login is in an
//! encrypted cookie of that browser and not in the database, so that requests without a login cannot fill a table.

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::request::Parts;
use url::form_urlencoded;
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::external::{Demand, ExternalLogin};
use weir_platform_uaa_store::{LEEWAY, secrets};

use crate::http::browser::{self, Browser, safe_continue};
use crate::http::error::ApiError;
use crate::http::form::Form;
use crate::http::login::redirect_to;

/// The name of the cookie.
const LOGIN: &str = "__Host-weir-login";

/// The purpose for which the cookie is encrypted.
const PURPOSE: &str = "login at a provider";

/// The seconds that a login at a provider may take.
const LONGEST_LOGIN: i64 = 10 * 60;

/// The most bytes of the cookie's value. Browsers keep 4096 bytes together with name and attributes.
const LONGEST: usize = 3900;

/// `GET /login/oidc/:name`
pub(crate) async fn begin(
    State(app): State<App>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let provider = app.providers.by_name(&name).ok_or_else(unknown)?;
    let query = Form::query(query.as_deref())?;
    let login = ExternalLogin {
        provider: name,
        state: secrets::random_token::<32>(),
        nonce: secrets::random_token::<24>(),
        verifier: secrets::random_token::<48>(),
        continue_to: safe_continue(query.get("continue")),
        began_at: app.now(),
        demand: demand_of(&query),
    };
    let Some(cookie) = sealed(&app, &login) else {
        return Ok(back_to_login("long", &login));
    };
    let url = match provider.authorization_url(&login).await {
        Ok(url) => url,
        Err(error) => {
            weir_service::limited!(
                error,
                weir_service::EACH_SECOND,
                provider = provider.name(),
                error = weir_error::chain(&error),
                "a provider cannot be used"
            );
            return Ok(back_to_login("provider", &login));
        }
    };
    let mut response = redirect_to(url.as_str());
    browser::set(&mut response, LOGIN, &cookie, Some(LONGEST_LOGIN.unsigned_abs()));
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
    let login = browser::cookie(&parts.headers, LOGIN).and_then(|cookie| opened(&app, &cookie));
    let login = login.filter(|login| login.provider == provider.name() && secrets::equal(&login.state, state));
    // The cookie is kept here, so that a callback link of another site cannot end a login that is under way.
    let Some(login) = login else {
        return Ok(redirect_to("/login?error=late"));
    };
    let mut response = match finished(&app, provider, &query, &login, &parts).await {
        Ok(response) => response,
        Err(error) => back_to_login(problem(&error).ok_or(error)?, &login),
    };
    browser::set(&mut response, LOGIN, "", Some(0));
    Ok(response)
}

async fn finished(
    app: &App,
    provider: &weir_platform_uaa_core::external::Provider,
    query: &Form,
    login: &ExternalLogin,
    parts: &Parts,
) -> Result<Response, ApiError> {
    // RFC 9207 §2.4: an answer with another issuer comes from another provider, and is refused.
    let mixed_up = query.filled("iss").is_some_and(|issuer| issuer != provider.issuer());
    let code = query
        .filled("code")
        .filter(|_| !mixed_up && query.get("error").is_none());
    let Some(code) = code else {
        weir_service::limited!(
            info,
            weir_service::EACH_SECOND,
            provider = provider.name(),
            "a login at a provider was not finished"
        );
        return Ok(back_to_login("provider", login));
    };
    let now = app.now();
    let identity = match provider.redeem(code, login, now).await {
        Ok(identity) => identity,
        Err(error) => {
            weir_service::limited!(
                warn,
                weir_service::EACH_SECOND,
                provider = provider.name(),
                error = weir_error::chain(&error),
                "a login at a provider failed"
            );
            app.metrics.login("failed");
            return Ok(back_to_login("provider", login));
        }
    };
    let user = app.user_of(provider, &identity).await?;
    let mut response = redirect_to(&login.continue_to);
    Browser::of(parts)
        .log_in(app, &user, identity.logged_in_at(now), &mut response)
        .await?;
    tracing::info!(user = user.id, provider = provider.name(), "a user has logged in");
    app.metrics.login("ok");
    Ok(response)
}

/// Returns the problem that the login page shows for a refusal; `None` for a failure of the server.
fn problem(error: &ApiError) -> Option<&'static str> {
    match error.status {
        StatusCode::FORBIDDEN => Some("denied"),
        StatusCode::SERVICE_UNAVAILABLE => Some("busy"),
        _ => None,
    }
}

/// Redirects to the login page, which shows the problem and keeps the purpose of the login.
fn back_to_login(problem: &str, login: &ExternalLogin) -> Response {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("error", problem)
        .append_pair("continue", &login.continue_to)
        .extend_pairs(login.demand.parameters());
    redirect_to(&format!("/login?{}", query.finish()))
}

/// Returns the cookie of a login; `None` if browsers would not keep it for its length.
fn sealed(app: &App, login: &ExternalLogin) -> Option<String> {
    let plain = serde_json::to_vec(login).ok()?;
    let cookie = URL_SAFE_NO_PAD.encode(app.master.seal(PURPOSE, &plain));
    (cookie.len() <= LONGEST).then_some(cookie)
}

/// Returns the login of a cookie, if this UAA encrypted it within the last 10 minutes.
fn opened(app: &App, cookie: &str) -> Option<ExternalLogin> {
    let sealed = URL_SAFE_NO_PAD.decode(cookie).ok()?;
    let login: ExternalLogin = serde_json::from_slice(&app.master.open(PURPOSE, &sealed)?).ok()?;
    let age = app.now().saturating_sub(login.began_at);
    // A node whose clock is ahead may have begun the login.
    (-LEEWAY..LONGEST_LOGIN).contains(&age).then_some(login)
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "There is no such provider")
}

/// Reads the demand on the login: `prompt=login`, `max_age=SECONDS`.
pub(crate) fn demand_of(form: &Form) -> Demand {
    Demand {
        login: form.get("prompt") == Some("login"),
        max_age: form
            .filled("max_age")
            .and_then(|age| age.parse().ok())
            .filter(|age| *age >= 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The login page shows overload and refusals; failures of the server are errors.
    #[test]
    fn refusals_on_the_page() {
        assert_eq!(problem(&ApiError::changed_meanwhile()), Some("busy"));
        assert_eq!(problem(&ApiError::forbidden("no")), Some("denied"));
        assert_eq!(problem(&ApiError::internal()), None);
    }
}
