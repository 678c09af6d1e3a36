//! `/oauth/authorize`: authorization codes.
//!
//! The order of the checks matters. The client and the redirect URI come first, and are compared with the registered ones byte
//! by byte: until they are known to be right, no browser is redirected, and errors are shown on a page. Errors in the rest of
//! the request are sent to the client. Then the user is identified, by a session or, for the cf CLI, by a token. At last
//! the user is asked for approval.

use std::collections::BTreeSet;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use url::form_urlencoded;

use crate::http::browser::{Browser, LoggedIn};
use crate::http::error::ApiError;
use crate::http::form::Form;
use crate::http::login::redirect_to;
use crate::http::pages::{self, Consent, ConsentScope};
use crate::http::unread::UnreadBody;
use crate::http::{bearer, token};

mod request;

use request::{Problem, Request};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::{Approval, Code, EMPTY_SECRET, secrets};

/// The milliseconds for which the approval of a user is remembered.
const APPROVAL: i64 = 30 * 24 * 3600 * 1000;

/// `GET /oauth/authorize`
pub(crate) async fn ask(State(app): State<App>, RawQuery(query): RawQuery, parts: Parts) -> Result<Response, ApiError> {
    let form = Form::query(query.as_deref())?;
    let request = match Request::read(&app, &form).await? {
        Ok(request) => request,
        Err(problem) => return Ok(answer_problem(&app, &parts, problem)),
    };
    if bearer::token(&parts.headers)?.is_some() {
        return by_token(&app, &parts, &request).await;
    }
    let browser = Browser::of(&parts);
    let logged_in = browser
        .logged_in(&app)
        .await?
        .filter(|login| request.is_recent(login, app.now()));
    let Some(login) = logged_in else {
        return Ok(request.redirect_to_login(&app, &form));
    };
    Box::pin(with_user(&app, &browser, &form, &request, login)).await
}

/// Answers a request of a user who is logged in: with a code, or with the page that asks for approval.
async fn with_user(
    app: &App,
    browser: &Browser,
    form: &Form,
    request: &Request,
    login: LoggedIn,
) -> Result<Response, ApiError> {
    let granted = match request.granted(app, &login, None).await? {
        Ok(granted) => granted,
        Err(refused) => return Ok(refused),
    };
    let unapproved = request.unapproved(app, &login, &granted).await?;
    if unapproved.is_empty() && !request.prompts("consent") {
        return issue(app, request, &login, granted).await;
    }
    if request.prompts("none") {
        return Ok(request.refuse(app, "consent_required", "The user has not agreed yet"));
    }
    let asked = if unapproved.is_empty() { &granted } else { &unapproved };
    let mut scopes = Vec::with_capacity(asked.len());
    for name in asked {
        let group = app.store.group_by_name(name).await?;
        scopes.push(ConsentScope {
            name: name.clone(),
            description: group.and_then(|group| group.description).or_else(|| scope_text(name)),
        });
    }
    let mut fields: Vec<(String, String)> = form
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // Answers in the URL would be sent with the form, and approve scopes in the user's place.
    fields.retain(|(name, _)| !request::is_answer(name));
    fields.push(("csrf".to_owned(), browser.csrf(app)));
    let page = Consent {
        client: request.client.name.as_deref().unwrap_or(&request.client.id),
        user_name: &login.user.user_name,
        destination: &request.destination(),
        scopes,
        fields,
        targets: &request.targets(),
    };
    Ok(browser.remember(page.page()))
}

/// `POST /oauth/authorize`: the form of the page that asks for approval.
pub(crate) async fn answer(State(app): State<App>, parts: Parts, body: UnreadBody) -> Result<Response, ApiError> {
    let form = Form::posted(&parts.headers, body).await?;
    let browser = Browser::of(&parts);
    if let Err(error) = browser.check(&app, &form) {
        return Ok(failure(&parts, error));
    }
    let request = match Request::read(&app, &form).await? {
        Ok(request) => request,
        Err(problem) => return Ok(answer_problem(&app, &parts, problem)),
    };
    let Some(login) = browser.logged_in(&app).await? else {
        return Ok(request.refuse(&app, "login_required", "Nobody is logged in any more"));
    };
    // The login may have become too old since the page was shown, and a page of another site may have sent the form.
    if !request.is_recent(&login, app.now()) {
        return Ok(request.redirect_to_login(&app, &form));
    }
    let granted = match request.granted(&app, &login, None).await? {
        Ok(granted) => granted,
        Err(refused) => return Ok(refused),
    };
    let unapproved = request.unapproved(&app, &login, &granted).await?;
    let asked = if request.prompts("consent") && unapproved.is_empty() {
        granted.clone()
    } else {
        unapproved
    };
    // The scopes come from the request, not from the form: the form only says which of them are approved.
    let agrees = form.get("user_oauth_approval") == Some("true");
    let now = app.store.now();
    let answers: Vec<Approval> = asked
        .iter()
        .map(|scope| Approval {
            client_id: request.client.id.clone(),
            scope: scope.clone(),
            approved: agrees && form.get(&format!("scope.{scope}")) == Some("on"),
            expires_at: now + APPROVAL,
            modified_at: now,
        })
        .collect();
    app.store.set_approvals(&login.user.id, &answers).await?;
    let denied: BTreeSet<&String> = answers
        .iter()
        .filter(|answer| !answer.approved)
        .map(|answer| &answer.scope)
        .collect();
    let granted: BTreeSet<String> = granted.into_iter().filter(|scope| !denied.contains(scope)).collect();
    if !agrees || granted.is_empty() {
        return Ok(request.refuse(&app, "access_denied", "User denied access"));
    }
    issue(&app, &request, &login, granted).await
}

/// Answers a request with a token in place of a session, as `cf ssh` and `cf ssh-code` send it, for a client that needs no
/// approval.
async fn by_token(app: &App, parts: &Parts, request: &Request) -> Result<Response, ApiError> {
    let caller = bearer::caller_with(app, &parts.headers, &["uaa.user"]).await?;
    // Without a client secret, the holder of the token could redeem the code, and a token of minutes would become a refresh
    // token of weeks.
    if request.client.detail.allow_public || request.client.secret_hash == EMPTY_SECRET {
        return Ok(request.refuse(
            app,
            "access_denied",
            "A token stands for a login only with a client that has a secret",
        ));
    }
    let id = caller
        .claims
        .user_id
        .clone()
        .ok_or_else(|| ApiError::insufficient_scope(&["uaa.user"]))?;
    let user = app.store.user(&id).await?.filter(|user| user.active);
    let mut user = user.ok_or_else(|| ApiError::invalid_token("The token's user is gone"))?;
    // A revocation after the token was verified must count when the code is stored.
    user.as_of = user.as_of.min(caller.claims.as_of);
    let login = LoggedIn {
        user,
        auth_time: caller.claims.auth_time.unwrap_or(caller.claims.iat),
    };
    if !request.is_recent(&login, app.now()) {
        return Ok(request.refuse(app, "login_required", "The login of the token is older than it may be"));
    }
    // The code must not give more scopes than the token has.
    let narrow: BTreeSet<String> = caller.claims.scope.iter().cloned().collect();
    let granted = match request.granted(app, &login, Some(&narrow)).await? {
        Ok(granted) => granted,
        Err(refused) => return Ok(refused),
    };
    if !request.unapproved(app, &login, &granted).await?.is_empty() {
        return Ok(request.refuse(app, "consent_required", "The user has not agreed yet"));
    }
    issue(app, request, &login, granted).await
}

/// Stores a code and redirects to the client with it.
async fn issue(
    app: &App,
    request: &Request,
    login: &LoggedIn,
    granted: BTreeSet<String>,
) -> Result<Response, ApiError> {
    let code = secrets::random_token::<24>();
    // Only a digest is stored, so that a reader of the database cannot redeem codes.
    let kept = Code {
        code_hash: secrets::digest(&code),
        client_id: request.client.id.clone(),
        user_id: login.user.id.clone(),
        // RFC 6749 §4.1.3: the token request must repeat the URI only if this request named it.
        redirect_uri: request.redirect_given.then(|| request.redirect.clone()),
        scopes: granted.into_iter().collect(),
        challenge: request.challenge.clone(),
        nonce: request.nonce.clone(),
        auth_time: login.auth_time,
        expires_at: app.store.now() + weir_platform_uaa_core::issue::seconds(app.config.tokens.code) * 1000,
        used_at: None,
        access_jti: None,
        family: None,
    };
    if !app.store.add_code(&kept, &login.user, &request.client).await? {
        return Ok(request.refuse(
            app,
            "temporarily_unavailable",
            "The user or the client was changed during the request; try again",
        ));
    }
    Ok(request.redirect_to_client(app, &[("code", &code)]))
}

/// Returns the answer to a request that is refused: to the client, or to the browser if the client is not known to be right.
fn answer_problem(app: &App, parts: &Parts, problem: Problem) -> Response {
    match problem {
        Problem::Fatal(error) => failure(parts, error),
        Problem::ForClient {
            request,
            error,
            description,
        } => request.refuse(app, error, &description),
    }
}

fn failure(parts: &Parts, error: ApiError) -> Response {
    if pages::is_wanted(&parts.headers) {
        pages::failure(error.status, "This does not work", &error.description)
    } else {
        error.into_response()
    }
}

/// Returns the client's name and the origins to which its form may redirect, if a login is for an authorization request.
pub(crate) async fn purpose(app: &App, continue_to: &str) -> (Option<String>, Vec<String>) {
    let Some(query) = continue_to.strip_prefix("/oauth/authorize?") else {
        return (None, Vec::new());
    };
    let Ok(form) = Form::parse(query.as_bytes()) else {
        return (None, Vec::new());
    };
    match Request::read(app, &form).await {
        Ok(Ok(request)) => {
            let name = request.client.name.clone().unwrap_or_else(|| request.client.id.clone());
            (Some(name), request.targets())
        }
        _ => (None, Vec::new()),
    }
}

/// Returns the text of a well-known scope on the page that asks for approval.
fn scope_text(scope: &str) -> Option<String> {
    let text = match scope {
        "openid" => "Know who you are",
        "profile" => "See your name",
        "email" => "See your email address",
        "roles" => "See your groups",
        "user_attributes" => "See what your account says about you",
        "uaa.user" => "Act as you where you log in",
        "uaa.offline_token" => "Stay connected when you are away",
        "cloud_controller.read" => "See your apps, spaces and organisations",
        "cloud_controller.write" => "Change your apps, spaces and organisations",
        "cloud_controller.admin" => "Administer the whole platform",
        "doppler.firehose" => "Read the logs of everything",
        weir_platform_uaa_store::scopes::SOURCES => "Read the logs of your apps",
        "password.write" => "Change your password",
        "scim.me" => "See and change your account",
        "scim.userids" => "Look up the names of users",
        "scim.read" => "See all users and groups",
        "scim.write" => "Change all users and groups",
        _ => return None,
    };
    Some(text.to_owned())
}

impl Request {
    /// Returns the scopes that both the client and the user may have, or the answer to the client if there are none.
    async fn granted(
        &self,
        app: &App,
        login: &LoggedIn,
        narrow: Option<&BTreeSet<String>>,
    ) -> Result<Result<BTreeSet<String>, Response>, ApiError> {
        if !self.client.accepts_origin(&login.user.origin) {
            return Ok(Err(self.refuse(
                app,
                "access_denied",
                "The client is not for users of this origin",
            )));
        }
        match token::granted(app, &self.client, &login.user, &self.scopes, narrow).await {
            Ok(granted) => Ok(Ok(granted)),
            Err(error) if error.status == StatusCode::BAD_REQUEST => {
                Ok(Err(self.refuse(app, error.error, &error.description)))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the scopes that the user must approve and has not approved.
    async fn unapproved(
        &self,
        app: &App,
        login: &LoggedIn,
        granted: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, ApiError> {
        let needed: BTreeSet<String> = granted
            .iter()
            .filter(|scope| !self.client.detail.auto_approve.covers(scope))
            .cloned()
            .collect();
        if needed.is_empty() {
            return Ok(needed);
        }
        let approvals = app.store.approvals(&login.user.id).await?;
        let agreed = |scope: &String| {
            approvals
                .iter()
                .any(|approval| approval.approved && approval.client_id == self.client.id && approval.scope == *scope)
        };
        Ok(needed.into_iter().filter(|scope| !agreed(scope)).collect())
    }

    /// Redirects to the login page, which leads back to this request. With `prompt=none`, redirects to the client with an error.
    fn redirect_to_login(&self, app: &App, form: &Form) -> Response {
        if self.prompts("none") {
            return self.refuse(app, "login_required", "Nobody is logged in, or the login is too old");
        }
        let mut to = form_urlencoded::Serializer::new(String::new());
        to.append_pair("continue", &self.after_login(form))
            .extend_pairs(self.demand().parameters());
        redirect_to(&format!("/login?{}", to.finish()))
    }

    /// Redirects to the client.
    fn redirect_to_client(&self, app: &App, parameters: &[(&str, &str)]) -> Response {
        let target = self.location(&app.issuer, parameters);
        let mut response = StatusCode::FOUND.into_response();
        let headers = response.headers_mut();
        match HeaderValue::from_str(&target) {
            Ok(location) => drop(headers.insert(header::LOCATION, location)),
            // `Request::read` has refused URIs with characters that a header cannot have.
            Err(_) => return ApiError::internal().into_response(),
        }
        // The code in the URL must be in no cache, and in no `Referer` for another site.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    fn refuse(&self, app: &App, error: &str, description: &str) -> Response {
        self.redirect_to_client(app, &[("error", error), ("error_description", description)])
    }
}
