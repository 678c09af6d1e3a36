//! A request for a code, read and checked.

use std::collections::BTreeSet;

use url::{Url, form_urlencoded};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::external::Demand;
use weir_platform_uaa_store::{Client, NO_SECRET, scopes};

use crate::http::browser::LoggedIn;
use crate::http::error::{ApiError, shown};
use crate::http::form::Form;
use crate::http::redirect::is_registered;

/// Longest `state` and `nonce`.
const LONGEST: usize = 2048;

/// Length of an S256 challenge.
const CHALLENGE: usize = 43;

/// What `prompt` may ask for.
const PROMPTS: [&str; 4] = ["none", LOGIN, "consent", SELECT_ACCOUNT];

/// Whoever is there logs in again. Who is to choose an account does so by that, too.
const LOGIN: &str = "login";
const SELECT_ACCOUNT: &str = "select_account";

/// A request whose client and redirect URI are good.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) client: Client,
    pub(super) redirect: String,
    /// Whether the request named it.
    pub(super) redirect_given: bool,
    pub(super) scopes: BTreeSet<String>,
    pub(super) challenge: Option<String>,
    pub(super) nonce: Option<String>,
    state: Option<String>,
    prompt: BTreeSet<String>,
    /// Seconds.
    max_age: Option<i64>,
}

/// What is wrong with a request.
#[derive(Debug)]
pub(super) enum Problem {
    /// Nobody can be told but whoever is there.
    Fatal(ApiError),
    /// The client is told.
    ForClient {
        request: Box<Request>,
        error: &'static str,
        description: String,
    },
}

/// Whether a parameter is of the answer to the question of consent, and not of the request.
pub(super) fn is_answer(name: &str) -> bool {
    name == "csrf" || name == "user_oauth_approval" || name.starts_with("scope.")
}

impl Request {
    /// Reads a request. The outer error is of the database.
    pub(super) async fn read(app: &App, form: &Form) -> Result<Result<Self, Problem>, ApiError> {
        let fatal = |error: &'static str, text: &str| Ok(Err(Problem::Fatal(ApiError::bad_request(error, text))));
        let Some(id) = form.filled("client_id") else {
            return fatal("invalid_request", "The request names no client.");
        };
        let Some(client) = app.store.client(id).await? else {
            return fatal("invalid_client", &format!("No client with requested id: {}", shown(id)));
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
        // Registered when that was not looked at.
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

    /// Everything else, of which the client is told.
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
            Some(("invalid_request", "prompt=none stands alone".to_owned()))
        } else if let Some(unknown) = self.prompt.iter().find(|prompt| !PROMPTS.contains(&prompt.as_str())) {
            Some((
                "invalid_request",
                format!("prompt={} is none of {}", shown(unknown), PROMPTS.join(", ")),
            ))
        } else if let Some(text) = self.challenge_problem(form) {
            Some(("invalid_request", text.to_owned()))
        } else {
            let patterns = &self.client.detail.scope;
            let unknown = self.scopes.iter().find(|scope| !scopes::may_ask(patterns, scope));
            unknown.map(|scope| {
                (
                    "invalid_scope",
                    format!("{} is not a scope of the client", shown(scope)),
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

    /// PKCE: S256 or nothing, and never nothing for a client without a secret.
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

    pub(super) fn prompts(&self, what: &str) -> bool {
        self.prompt.contains(what)
    }

    /// Whether whoever is there must log in again.
    fn wants_login(&self) -> bool {
        self.prompts(LOGIN) || self.prompts(SELECT_ACCOUNT)
    }

    /// Whether a login is as recent as the client wants it.
    pub(super) fn is_recent(&self, there: &LoggedIn, now: i64) -> bool {
        let old = |age: i64| age == 0 || now - there.auth_time > age;
        !self.wants_login() && !self.max_age.is_some_and(old)
    }

    /// How recent a login must be, for whoever else is asked to do it.
    pub(super) fn demand(&self) -> Demand {
        Demand {
            login: self.wants_login(),
            max_age: self.max_age,
        }
    }

    /// Where a login leads back to: the same request, without what asked for a new login.
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

    /// The redirect URI with these parameters, the client's state and our name.
    pub(super) fn location(&self, issuer: &str, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        // RFC 9207: so that a client with several issuers is not deceived.
        query.append_pair("iss", issuer);
        // As it is registered, down to the byte: no parser between the comparison and the answer.
        let joint = match self.redirect.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        format!("{}{joint}{}", self.redirect, query.finish())
    }

    /// Where an answer leads, for people.
    pub(super) fn destination(&self) -> String {
        let url = Url::parse(&self.redirect).ok();
        let host = url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
        host.or_else(|| url.map(|url| url.scheme().to_owned()))
            .unwrap_or_default()
    }

    /// Where a form of ours may lead beside ourselves, as a content security policy writes it.
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
