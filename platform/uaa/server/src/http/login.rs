//! The login and logout of people: `/login`, `/login.do`, `/logout.do`, `/`.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use http::request::Parts;
use url::form_urlencoded;
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::external::Demand;
use weir_platform_uaa_core::refusal::Refusal;

use crate::http::browser::{Browser, safe_continue};
use crate::http::error::ApiError;
use crate::http::form::Form;
use crate::http::provider_login::demand_of;
use crate::http::unread::UnreadBody;
use crate::http::{authorize, info, pages};

/// The text on the page if the server is overloaded.
const BUSY: &str = "There is much to do at the moment. Try again in a few seconds.";

/// `GET /login`: the login page, or the prompts as JSON for programs.
pub(crate) async fn page(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Result<Response, ApiError> {
    if !pages::is_wanted(&parts.headers) {
        return Ok(Json(info::document(&app)).into_response());
    }
    let query = Form::query(query.as_deref())?;
    let browser = Browser::of(&parts);
    let problem = match query.get("error") {
        Some("provider") => Some("The login there did not work. Try again, or ask an operator."),
        Some("denied") => Some("You are not allowed to log in here."),
        Some("late") => Some("That took too long. Try again."),
        Some("busy") => Some(BUSY),
        Some("long") => Some("What the program asks for is too long for a login there."),
        _ => None,
    };
    let wanted = Wanted {
        continue_to: safe_continue(query.get("continue")),
        demand: demand_of(&query),
    };
    Ok(form(&app, &browser, StatusCode::OK, problem, "", &wanted).await)
}

/// The purpose of a login.
struct Wanted {
    /// The path to which the login leads.
    continue_to: String,
    /// The demand on a login at an external provider. A login with the form is always recent.
    demand: Demand,
}

/// Returns the login page.
async fn form(
    app: &App,
    browser: &Browser,
    status: StatusCode,
    problem: Option<&str>,
    user_name: &str,
    wanted: &Wanted,
) -> Response {
    let continue_to = &wanted.continue_to;
    let (client, targets) = authorize::purpose(app, continue_to).await;
    let providers = app.providers.iter().map(|provider| {
        let mut to = form_urlencoded::Serializer::new(String::new());
        to.append_pair("continue", continue_to)
            .extend_pairs(wanted.demand.parameters());
        let path = format!("/login/oidc/{}?{}", provider.name(), to.finish());
        (path, provider.title().to_owned())
    });
    let page = pages::Login {
        status,
        problem,
        user_name,
        csrf: &browser.csrf(app),
        continue_to,
        demand: wanted.demand.parameters().collect(),
        client: client.as_deref(),
        providers: providers.collect(),
        targets: &targets,
    };
    browser.remember(page.page())
}

/// `POST /login.do`
pub(crate) async fn log_in(State(app): State<App>, parts: Parts, body: UnreadBody) -> Result<Response, ApiError> {
    let browser = Browser::of(&parts);
    let posted = Form::posted(&parts.headers, body).await?;
    let wanted = Wanted {
        continue_to: safe_continue(posted.get("continue")),
        demand: demand_of(&posted),
    };
    if let Err(error) = browser.check(&app, &posted) {
        return Ok(form(&app, &browser, error.status, Some(&error.description), "", &wanted).await);
    }
    // Blanks around a name are accidents of copying; a password may have them.
    let user_name = posted.get("username").unwrap_or_default().trim();
    let password = posted.get("password").unwrap_or_default();
    let mut response = redirect_to(&wanted.continue_to);
    let outcome = match app.log_in(user_name, password).await {
        Ok(user) => browser.log_in(&app, &user, app.now(), &mut response).await,
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(()) => Ok(response),
        Err(refusal) => {
            let text = match refusal {
                Refusal::Locked => super::error::LOCKED,
                Refusal::BadCredentials => "That name and password do not belong together.",
                _ => BUSY,
            };
            let error = ApiError::from(refusal);
            let status = error.status;
            let mut response = form(&app, &browser, status, Some(text), user_name, &wanted).await;
            if let Some(after) = error.into_response().headers().get(http::header::RETRY_AFTER) {
                response.headers_mut().insert(http::header::RETRY_AFTER, after.clone());
            }
            Ok(response)
        }
    }
}

/// `GET /`
pub(crate) async fn home(State(app): State<App>, parts: Parts) -> Result<Response, ApiError> {
    let browser = Browser::of(&parts);
    match browser.logged_in(&app).await? {
        Some(logged_in) => {
            let page = pages::home(&logged_in.user.user_name, &browser.csrf(&app), true);
            Ok(browser.remember(page))
        }
        None => Ok(redirect_to("/login")),
    }
}

/// `GET /logout.do`, to which clients link, and `POST`, which the start page sends. `redirect` (or `post_logout_redirect_uri`)
/// is followed if it is registered for `client_id`.
pub(crate) async fn log_out(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    parts: Parts,
    body: UnreadBody,
) -> Result<Response, ApiError> {
    let browser = Browser::of(&parts);
    // `GET` needs no CSRF token: OpenID Connect lets clients link to the logout.
    if parts.method == http::Method::POST {
        let posted = Form::posted(&parts.headers, body).await?;
        if let Err(error) = browser.check(&app, &posted) {
            return Ok(pages::failure(error.status, "Not logged out", &error.description));
        }
    }
    let query = Form::query(query.as_deref())?;
    let redirect = query
        .filled("redirect")
        .or_else(|| query.filled("post_logout_redirect_uri"));
    let mut target = "/login".to_owned();
    if let (Some(redirect), Some(client)) = (redirect, query.filled("client_id"))
        && let Some(client) = app.store.client(client).await?
        && client.detail.redirect_uri.iter().any(|known| known == redirect)
        && let Ok(mut url) = url::Url::parse(redirect)
    {
        if let Some(state) = query.filled("state") {
            url.query_pairs_mut().append_pair("state", state);
        }
        target = url.into();
    }
    let mut response = redirect_to(&target);
    browser.log_out(&app, &mut response).await?;
    Ok(response)
}

/// Redirects a browser with 303, after which it sends a `GET`.
pub(crate) fn redirect_to(target: &str) -> Response {
    let mut response = Redirect::to(target).into_response();
    response
        .headers_mut()
        .insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}
