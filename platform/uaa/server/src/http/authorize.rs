//! `/oauth/authorize`: authorization codes.
//!
//! First of all the client and the redirect URI are checked, against what is registered, as they stand: until then
//! nobody is redirected anywhere. Then the rest of the request, whose errors go to the client; then who is there, by a
//! session or, for the cf CLI, by a token; and at last whether they agree.

use std::collections::BTreeSet;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use url::form_urlencoded;

use crate::http::browser::{Browser, LoggedIn};
use crate::http::error::ApiError;
use crate::http::form::Form;
use crate::http::login::see;
use crate::http::pages::{self, Consent, ConsentScope};
use crate::http::unread::Unread;
use crate::http::{bearer, token};

mod request;

use request::{Problem, Request};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::{Approval, Code, EMPTY_SECRET, secrets};

/// How long an answer of a user counts (ms).
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
        .filter(|there| request.is_recent(there, app.now()));
    let Some(there) = logged_in else {
        return Ok(request.lead_to_login(&app, &form));
    };
    Box::pin(with_user(&app, &browser, &form, &request, there)).await
}

/// Somebody is there: a code at once, or the question.
async fn with_user(
    app: &App,
    browser: &Browser,
    form: &Form,
    request: &Request,
    there: LoggedIn,
) -> Result<Response, ApiError> {
    let granted = match request.granted(app, &there, None).await? {
        Ok(granted) => granted,
        Err(refused) => return Ok(refused),
    };
    let open = request.open(app, &there, &granted).await?;
    if open.is_empty() && !request.prompts("consent") {
        return issue(app, request, &there, granted).await;
    }
    if request.prompts("none") {
        return Ok(request.refuse(app, "consent_required", "The user has not agreed yet"));
    }
    let asked = if open.is_empty() { &granted } else { &open };
    let mut scopes = Vec::with_capacity(asked.len());
    for name in asked {
        let group = app.store.group_by_name(name).await?;
        scopes.push(ConsentScope {
            name: name.clone(),
            description: group.and_then(|group| group.description).or_else(|| described(name)),
        });
    }
    let mut fields: Vec<(String, String)> = form
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    fields.retain(|(name, _)| !request::is_answer(name));
    fields.push(("csrf".to_owned(), browser.csrf(app)));
    let page = Consent {
        client: request.client.name.as_deref().unwrap_or(&request.client.id),
        user_name: &there.user.user_name,
        destination: &request.destination(),
        scopes,
        fields,
        targets: &request.targets(),
    };
    Ok(browser.remember(page.page()))
}

/// `POST /oauth/authorize`: the answer to the question.
pub(crate) async fn answer(State(app): State<App>, parts: Parts, body: Unread) -> Result<Response, ApiError> {
    let form = Form::posted(&parts.headers, body).await?;
    let browser = Browser::of(&parts);
    if let Err(error) = browser.check(&app, &form) {
        return Ok(failure(&parts, error));
    }
    let request = match Request::read(&app, &form).await? {
        Ok(request) => request,
        Err(problem) => return Ok(answer_problem(&app, &parts, problem)),
    };
    let Some(there) = browser.logged_in(&app).await? else {
        return Ok(request.refuse(&app, "login_required", "Nobody is logged in any more"));
    };
    // The form that is answered may be older than the login may be, and whoever posts may never have seen it.
    if !request.is_recent(&there, app.now()) {
        return Ok(request.lead_to_login(&app, &form));
    }
    let granted = match request.granted(&app, &there, None).await? {
        Ok(granted) => granted,
        Err(refused) => return Ok(refused),
    };
    let open = request.open(&app, &there, &granted).await?;
    let asked = if request.prompts("consent") && open.is_empty() {
        granted.clone()
    } else {
        open
    };
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
    app.store.set_approvals(&there.user.id, &answers).await?;
    let denied: BTreeSet<&String> = answers
        .iter()
        .filter(|answer| !answer.approved)
        .map(|answer| &answer.scope)
        .collect();
    let granted: BTreeSet<String> = granted.into_iter().filter(|scope| !denied.contains(scope)).collect();
    if !agrees || granted.is_empty() {
        return Ok(request.refuse(&app, "access_denied", "User denied access"));
    }
    issue(&app, &request, &there, granted).await
}

/// As `cf ssh` and `cf ssh-code` ask: with a token in the place of a session, for a client that needs no agreement.
async fn by_token(app: &App, parts: &Parts, request: &Request) -> Result<Response, ApiError> {
    let caller = bearer::caller_with(app, &parts.headers, &["uaa.user"]).await?;
    // Anybody could redeem the code: a token of minutes would become a refresh token of weeks.
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
    // What ended the token after it was checked counts.
    user.as_of = user.as_of.min(caller.claims.as_of);
    let there = LoggedIn {
        user,
        auth_time: caller.claims.auth_time.unwrap_or(caller.claims.iat),
    };
    if !request.is_recent(&there, app.now()) {
        return Ok(request.refuse(app, "login_required", "The login of the token is older than it may be"));
    }
    // A token for little must not become a code for more, whatever the user may have.
    let narrow: BTreeSet<String> = caller.claims.scope.iter().cloned().collect();
    let granted = match request.granted(app, &there, Some(&narrow)).await? {
        Ok(granted) => granted,
        Err(refused) => return Ok(refused),
    };
    if !request.open(app, &there, &granted).await?.is_empty() {
        return Ok(request.refuse(app, "consent_required", "The user has not agreed yet"));
    }
    issue(app, request, &there, granted).await
}

/// Makes a code and leads to the client with it.
async fn issue(
    app: &App,
    request: &Request,
    there: &LoggedIn,
    granted: BTreeSet<String>,
) -> Result<Response, ApiError> {
    let code = secrets::random_token::<24>();
    let kept = Code {
        code_hash: secrets::digest(&code),
        client_id: request.client.id.clone(),
        user_id: there.user.id.clone(),
        redirect_uri: request.redirect_given.then(|| request.redirect.clone()),
        scopes: granted.into_iter().collect(),
        challenge: request.challenge.clone(),
        nonce: request.nonce.clone(),
        auth_time: there.auth_time,
        expires_at: app.store.now() + weir_platform_uaa_core::issue::seconds(app.config.tokens.code) * 1000,
        used_at: None,
        access_jti: None,
        family: None,
    };
    if !app.store.add_code(&kept, &there.user, &request.client).await? {
        return Ok(request.refuse(
            app,
            "temporarily_unavailable",
            "What the request rests on was changed meanwhile; try again",
        ));
    }
    Ok(request.lead(app, &[("code", &code)]))
}

/// What is said to the client, or, where there is none to be trusted, to whoever is there.
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
    if pages::wanted(&parts.headers) {
        pages::failure(error.status, "This does not work", &error.description)
    } else {
        error.into_response()
    }
}

/// For whom somebody logs in, if it is for an authorization: the client's name, and where the login page's form may lead.
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

/// What the scopes of everybody mean, for people.
fn described(scope: &str) -> Option<String> {
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
    /// The scopes that the client and the user may have, or the answer that there are none.
    async fn granted(
        &self,
        app: &App,
        there: &LoggedIn,
        narrow: Option<&BTreeSet<String>>,
    ) -> Result<Result<BTreeSet<String>, Response>, ApiError> {
        if !self.client.takes(&there.user.origin) {
            return Ok(Err(self.refuse(
                app,
                "access_denied",
                "The client is not for users of this origin",
            )));
        }
        match token::granted(app, &self.client, &there.user, &self.scopes, narrow).await {
            Ok(granted) => Ok(Ok(granted)),
            Err(error) if error.status == StatusCode::BAD_REQUEST => {
                Ok(Err(self.refuse(app, error.error, &error.description)))
            }
            Err(error) => Err(error),
        }
    }

    /// The scopes that the user has not agreed to yet.
    async fn open(
        &self,
        app: &App,
        there: &LoggedIn,
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
        let approvals = app.store.approvals(&there.user.id).await?;
        let agreed = |scope: &String| {
            approvals
                .iter()
                .any(|approval| approval.approved && approval.client_id == self.client.id && approval.scope == *scope)
        };
        Ok(needed.into_iter().filter(|scope| !agreed(scope)).collect())
    }

    /// Leads to a login and back to this request; or to the client, which does not want anybody to be asked.
    fn lead_to_login(&self, app: &App, form: &Form) -> Response {
        if self.prompts("none") {
            return self.refuse(app, "login_required", "Nobody is logged in, or the login is too old");
        }
        let mut to = form_urlencoded::Serializer::new(String::new());
        to.append_pair("continue", &self.after_login(form))
            .extend_pairs(self.demand().parameters());
        see(&format!("/login?{}", to.finish()))
    }

    /// Leads to the client.
    fn lead(&self, app: &App, parameters: &[(&str, &str)]) -> Response {
        let target = self.location(&app.issuer, parameters);
        let mut response = StatusCode::FOUND.into_response();
        let headers = response.headers_mut();
        match HeaderValue::from_str(&target) {
            Ok(location) => drop(headers.insert(header::LOCATION, location)),
            // It was parsed as a URL, which has only such characters.
            Err(_) => return ApiError::internal().into_response(),
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    fn refuse(&self, app: &App, error: &str, description: &str) -> Response {
        self.lead(app, &[("error", error), ("error_description", description)])
    }
}
