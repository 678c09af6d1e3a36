//! Reads and checks an authorization request (RFC 6749 §4.1.1, OpenID Connect Core 3.1.2.1).

use std::collections::BTreeSet;

use url::{Url, form_urlencoded};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::external::Demand;
use weir_platform_uaa_store::{Client, NO_SECRET, scopes};

use crate::http::browser::LoggedIn;
use crate::http::error::{ApiError, excerpt};
use crate::http::form::Form;
use crate::http::redirect::is_registered;

/// The most bytes of `state` and `nonce`.
const LONGEST: usize = 2048;

/// The length of an S256 challenge: 32 bytes in base64url (RFC 7636 §4.2).
const CHALLENGE: usize = 43;

/// The values of `prompt`.
const PROMPTS: [&str; 4] = ["none", LOGIN, "consent", SELECT_ACCOUNT];

/// The user must log in again.
const LOGIN: &str = "login";
/// The user must choose an account, which a new login does.
const SELECT_ACCOUNT: &str = "select_account";

/// A request whose client and redirect URI are right.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) client: Client,
    pub(super) redirect: String,
    /// Whether the request named the redirect URI. If so, the token request must repeat it.
    pub(super) redirect_given: bool,
    pub(super) scopes: BTreeSet<String>,
    pub(super) challenge: Option<String>,
    pub(super) nonce: Option<String>,
    state: Option<String>,
    prompt: BTreeSet<String>,
    /// The greatest age of the login, in seconds.
    max_age: Option<i64>,
}

/// The reason for which a request is refused.
#[derive(Debug)]
pub(super) enum Problem {
    /// The client or the redirect URI is wrong, so only the browser gets an answer.
    Fatal(ApiError),
    /// Another parameter is wrong, and the client gets the answer.
    ForClient {
        request: Box<Request>,
        error: &'static str,
        description: String,
    },
}

/// Whether a parameter belongs to the approval form, and not to the request.
pub(super) fn is_answer(name: &str) -> bool {
    name == "csrf" || name == "user_oauth_approval" || name.starts_with("scope.")
}

impl Request {
    /// Reads a request. The outer error is a failure of the database, the inner one a problem of the request.
    pub(super) async fn read(app: &App, form: &Form) -> Result<Result<Self, Problem>, ApiError> {
        let fatal = |error: &'static str, text: &str| Ok(Err(Problem::Fatal(ApiError::bad_request(error, text))));
        let Some(id) = form.filled("client_id") else {
            return fatal("invalid_request", "The request names no client.");
        };
        let Some(client) = app.store.client(id).await? else {
            return fatal(
                "invalid_client",
                &format!("No client with requested id: {}", excerpt(id)),
            );
        };
        let named = form.filled("redirect_uri");
        let redirect = match (named, client.detail.redirect_uri.as_slice()) {
            (Some(named), known) if known.iter().any(|known| is_registered(known, named)) => named.to_owned(),
            (Some(_), _) => {
                return fatal(
                    "invalid_redirect_uri",
                    "The redirect URI is not one that is registered for the client.",
                );
            }
            (None, [only]) => only.clone(),
            (None, _) => return fatal("invalid_request", "The request names no redirect URI."),
        };
        // The URI may have been registered before `redirect::check` refused such characters.
        if !redirect.bytes().all(|byte| byte.is_ascii_graphic()) {
            return fatal(
                "invalid_redirect_uri",
                "The redirect URI has characters that no URL has; it must be registered in its escaped form.",
            );
        }
        let text = |name: &str| form.filled(name).map(str::to_owned);
        let request = Self {
            redirect_given: named.is_some(),
            redirect,
            scopes: scopes::parse(form.filled("scope").unwrap_or_default()),
            challenge: text("code_challenge"),
            nonce: text("nonce"),
            state: text("state"),
            prompt: scopes::parse(form.filled("prompt").unwrap_or_default()),
            max_age: form.filled("max_age").and_then(|age| age.parse().ok()),
            client,
        };
        Ok(request.checked(form))
    }

    /// Checks the parameters whose errors are sent to the client.
    fn checked(self, form: &Form) -> Result<Self, Problem> {
        let problem = if [&self.state, &self.nonce]
            .into_iter()
            .flatten()
            .any(|text| text.len() > LONGEST)
        {
            Some((
                "invalid_request",
                format!("state and nonce must not exceed {LONGEST} bytes"),
            ))
        } else if form.filled("request").is_some() {
            Some(("request_not_supported", "Request objects are not supported".to_owned()))
        } else if form.filled("request_uri").is_some() {
            Some(("request_uri_not_supported", "Request URIs are not supported".to_owned()))
        } else if !self.client.may("authorization_code") {
            Some(("unauthorized_client", "The client may not ask for codes".to_owned()))
        } else if form.get("response_type") != Some("code") {
            Some(("unsupported_response_type", "The response type must be code".to_owned()))
        } else if form.filled("response_mode").is_some_and(|mode| mode != "query") {
            Some(("invalid_request", "The response mode must be query".to_owned()))
        } else if form.filled("max_age").is_some() && self.max_age.is_none_or(|age| age < 0) {
            Some(("invalid_request", "max_age must be a number of seconds".to_owned()))
        } else if self.prompts("none") && self.prompt.len() > 1 {
            Some((
                "invalid_request",
                "prompt=none cannot be combined with other values".to_owned(),
            ))
        } else if let Some(unknown) = self.prompt.iter().find(|prompt| !PROMPTS.contains(&prompt.as_str())) {
            Some((
                "invalid_request",
                format!("prompt={} is none of {}", excerpt(unknown), PROMPTS.join(", ")),
            ))
        } else if let Some(text) = self.challenge_problem(form) {
            Some(("invalid_request", text.to_owned()))
        } else {
            let patterns = &self.client.detail.scope;
            let unknown = self.scopes.iter().find(|scope| !scopes::may_ask(patterns, scope));
            unknown.map(|scope| {
                (
                    "invalid_scope",
                    format!("{} is not a scope of the client", excerpt(scope)),
                )
            })
        };
        match problem {
            None => Ok(self),
            Some((error, description)) => Err(Problem::ForClient {
                request: Box::new(self),
                error,
                description,
            }),
        }
    }

    /// Returns what is wrong with the PKCE challenge. The method must be S256, and clients without a secret must use it.
    fn challenge_problem(&self, form: &Form) -> Option<&'static str> {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match (&self.challenge, form.filled("code_challenge_method")) {
            (None, Some(_)) => Some("A code challenge method needs a code challenge"),
            (None, None) if self.client.secret_hash == NO_SECRET => Some("The client must use a code challenge (PKCE)"),
            (None, None) => None,
            (Some(challenge), Some("S256")) => {
                let well_formed = challenge.len() == CHALLENGE && challenge.bytes().all(usable);
                (!well_formed).then_some("The code challenge is not one of S256")
            }
            (Some(_), _) => Some("The code challenge method must be S256"),
        }
    }

    /// Whether `prompt` has a value.
    pub(super) fn prompts(&self, what: &str) -> bool {
        self.prompt.contains(what)
    }

    /// Whether the user must log in again.
    fn wants_login(&self) -> bool {
        self.prompts(LOGIN) || self.prompts(SELECT_ACCOUNT)
    }

    /// Whether a login is as recent as the client demands.
    pub(super) fn is_recent(&self, login: &LoggedIn, now: i64) -> bool {
        let old = |age: i64| age == 0 || now - login.auth_time > age;
        !self.wants_login() && !self.max_age.is_some_and(old)
    }

    /// Returns the demand on the login, for the login page and external providers.
    pub(super) fn demand(&self) -> Demand {
        Demand {
            login: self.wants_login(),
            max_age: self.max_age,
        }
    }

    /// Returns the path of this request without the demand for a new login, which would otherwise never end.
    pub(super) fn after_login(&self, form: &Form) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form.iter() {
            match name {
                _ if is_answer(name) => {}
                "prompt" => {
                    let mut rest = scopes::parse(value);
                    rest.retain(|word| word != LOGIN && word != SELECT_ACCOUNT);
                    if !rest.is_empty() {
                        query.append_pair(name, &rest.into_iter().collect::<Vec<_>>().join(" "));
                    }
                }
                "max_age" if self.max_age == Some(0) => {}
                _ => drop(query.append_pair(name, value)),
            }
        }
        format!("/oauth/authorize?{}", query.finish())
    }

    /// Returns the redirect URI with these parameters, `state` and `iss`.
    pub(super) fn location(&self, issuer: &str, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        // RFC 9207: a client of several issuers must know which of them has answered.
        query.append_pair("iss", issuer);
        // The registered URI is used byte for byte: a URL parser could change what was compared.
        let joint = match self.redirect.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        format!("{}{joint}{}", self.redirect, query.finish())
    }

    /// Returns the host of the redirect URI, or its scheme, as the page shows it.
    pub(super) fn destination(&self) -> String {
        let url = Url::parse(&self.redirect).ok();
        let host = url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
        host.or_else(|| url.map(|url| url.scheme().to_owned()))
            .unwrap_or_default()
    }

    /// Returns the origin to which the form may redirect, in the syntax of `form-action` (Content Security Policy).
    pub(super) fn targets(&self) -> Vec<String> {
        let Ok(url) = Url::parse(&self.redirect) else {
            return Vec::new();
        };
        match url.origin() {
            url::Origin::Tuple(..) => vec![url.origin().ascii_serialization()],
            url::Origin::Opaque(_) => vec![format!("{}:", url.scheme())],
        }
    }
}
