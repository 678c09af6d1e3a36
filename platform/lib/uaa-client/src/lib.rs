//! A client of a UAA: what `weir login`, `weir user`, `weir group` and `weir client` do, over HTTPS and nothing else. It
//! works with any UAA, as far as that knows the endpoint.
//!
//! ```text
//! Uaa::new(url, ca) ─ log_in(…) / client_credentials(…) ─▶ Tokens ─ uaa.with_token(…) ─▶ Admin
//! Admin: users, groups, members, clients, rights
//! ```
//!
//! Limits: 20 s for a call, 4 MiB for an answer, lists in pages of 200 entries. No secret is in an error or a URL.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use url::{Url, form_urlencoded};
use weir_config::Secret;
use weir_error::{Classify, ErrorKind};

mod clients;
mod groups;
mod https;
mod users;

pub use clients::{ClientEntry, NewClient};
pub use groups::{GroupEntry, MemberEntry};
pub use https::{Answer, Https, HttpsError};
pub use users::{NewUser, UserEntry};

/// How many entries are asked for at once.
const PAGE: usize = 200;

/// A request to a UAA was not fulfilled.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The address of the UAA or the file of its CA cannot be used.
    #[error("UAA `{url}` cannot be used: {reason}")]
    Address {
        /// The address as it was given.
        url: String,
        /// The reason why the value cannot be used.
        reason: String,
    },
    /// The UAA did not answer.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The UAA refuses the request, and says why.
    #[error("{description} ({error})")]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The UAA's code for the refusal, such as `invalid_client`.
        error: String,
        /// The UAA's text for people.
        description: String,
    },
    /// The UAA has nothing of that name.
    #[error("{what} `{name}` does not exist")]
    Missing {
        /// The kind of the object that was looked for: `user`, `group` or `client`.
        what: &'static str,
        /// The name that was looked for.
        name: String,
        /// Names that exist and differ from it by their case only.
        alike: Vec<String>,
    },
    /// The answer is not what a UAA says.
    #[error("the answer of the UAA is not readable: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
}

impl Classify for AdminError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Address { .. } => ErrorKind::InvalidInput,
            Self::Https(error) => error.kind(),
            Self::Refused { status, .. } => ErrorKind::from_http(*status).unwrap_or(ErrorKind::Internal),
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Answer { .. } => ErrorKind::Unavailable,
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Https(error) => error.retryable(),
            Self::Refused { status, .. } => {
                matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            }
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Https(error) => error.hint(),
            Self::Refused { status, .. } => match status.as_u16() {
                401 => Some("log in again with `weir login`".to_owned()),
                403 => Some("ask an administrator for the scope, or log in as one".to_owned()),
                429 | 503 => Some("try again in a few seconds".to_owned()),
                _ => None,
            },
            Self::Missing { what, alike, .. } if !alike.is_empty() => Some(format!(
                "case counts: there is the {what} `{}`, which is another one",
                alike.join("`, `")
            )),
            _ => None,
        }
    }
}

/// The tokens that a grant gives.
#[derive(Debug, Clone, Deserialize)]
pub struct Tokens {
    /// The access token, for `Authorization: bearer`.
    pub access_token: Secret<String>,
    /// The refresh token, for the next access token; a client's own token has none.
    pub refresh_token: Option<Secret<String>>,
    /// Seconds until the access token ends.
    pub expires_in: u64,
    /// The scopes of the access token, with blanks between them.
    #[serde(default)]
    pub scope: String,
}

/// A UAA, by its address.
#[derive(Debug, Clone)]
pub struct Uaa {
    url: Url,
    https: Https,
}

/// A UAA, and the token of somebody who administrates it.
#[derive(Debug, Clone)]
pub struct Admin {
    uaa: Uaa,
    token: Secret<String>,
}

impl Uaa {
    /// Returns the UAA at `https://…`, whose certificate is from this CA, or from one that the system trusts.
    ///
    /// # Errors
    /// When the address is none, or the CA cannot be read.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, AdminError> {
        let failed = |reason: String| AdminError::Address {
            url: url.to_owned(),
            reason,
        };
        let parsed = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        if parsed.scheme() != "https" {
            return Err(failed("it must begin with `https://`".to_owned()));
        }
        let https = Https::new(ca).map_err(failed)?;
        Ok(Self { url: parsed, https })
    }

    /// Asks for a user's tokens by the password grant, for a client such as `weir` or `cf` (whose secrets are empty).
    ///
    /// # Errors
    /// When name, password or client are not accepted.
    pub async fn log_in(
        &self,
        client: &str,
        client_secret: &str,
        user_name: &str,
        password: &str,
    ) -> Result<Tokens, AdminError> {
        let fields = [
            ("grant_type", "password"),
            ("username", user_name),
            ("password", password),
        ];
        self.grant(client, client_secret, &fields).await
    }

    /// Asks for new tokens by the refresh grant.
    ///
    /// # Errors
    /// When the token does not count any more.
    pub async fn refresh(&self, client: &str, client_secret: &str, refresh_token: &str) -> Result<Tokens, AdminError> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.grant(client, client_secret, &fields).await
    }

    /// Asks for a client's own token.
    ///
    /// # Errors
    /// When the client is not accepted.
    pub async fn client_credentials(&self, client: &str, client_secret: &str) -> Result<Tokens, AdminError> {
        self.grant(client, client_secret, &[("grant_type", "client_credentials")])
            .await
    }

    /// Ends a token that `client` was given; with a refresh token, all that came of the same login.
    ///
    /// # Errors
    /// When the client is not accepted, or nobody answers.
    pub async fn revoke(&self, client: &str, client_secret: &str, token: &str) -> Result<(), AdminError> {
        let body = form_body(&[("token", token)]);
        let headers = client_headers(client, client_secret)?;
        let done: Result<Value, _> = self.call(Method::POST, "/oauth/revoke", headers, body).await;
        done.map(drop)
    }

    /// Returns this UAA as the bearer of the token sees it.
    #[must_use]
    pub fn with_token(&self, token: &Secret<String>) -> Admin {
        Admin {
            uaa: self.clone(),
            token: token.clone(),
        }
    }

    async fn grant(&self, client: &str, secret: &str, fields: &[(&str, &str)]) -> Result<Tokens, AdminError> {
        let headers = client_headers(client, secret)?;
        self.call(Method::POST, "/oauth/token", headers, form_body(fields))
            .await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<T, AdminError> {
        let unusable = |error: url::ParseError| AdminError::Address {
            url: self.url.to_string(),
            reason: error.to_string(),
        };
        let url = self.url.join(path).map_err(unusable)?;
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.https.send(method, &url, headers, body).await?;
        if !answer.status.is_success() {
            let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let text = |name: &str, otherwise: &str| said[name].as_str().unwrap_or(otherwise).to_owned();
            let reason = answer.status.canonical_reason().unwrap_or("refused");
            return Err(AdminError::Refused {
                status: answer.status,
                error: text("error", answer.status.as_str()),
                description: text("error_description", reason),
            });
        }
        let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
        serde_json::from_slice(body).map_err(|error| AdminError::Answer {
            reason: error.to_string(),
        })
    }
}

impl Admin {
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        self.uaa.call(Method::GET, path, self.headers()?, Bytes::new()).await
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: &Value) -> Result<T, AdminError> {
        let mut headers = self.headers()?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.uaa.call(method, path, headers, body.to_string().into()).await
    }

    async fn delete(&self, path: &str) -> Result<(), AdminError> {
        let gone: Result<Value, _> = self.uaa.call(Method::DELETE, path, self.headers()?, Bytes::new()).await;
        gone.map(drop)
    }

    fn headers(&self) -> Result<HeaderMap, AdminError> {
        let value = header_value(&format!("bearer {}", self.token.expose()))?;
        Ok(HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
    }

    /// All entries of a list, page by page.
    async fn list<T: DeserializeOwned>(&self, path: &str, filter: Option<&str>) -> Result<Vec<T>, AdminError> {
        #[derive(Deserialize)]
        struct Page<T> {
            resources: Vec<T>,
            #[serde(rename = "totalResults")]
            total: usize,
        }
        let mut entries = Vec::new();
        loop {
            let (start, count) = ((entries.len() + 1).to_string(), PAGE.to_string());
            let query = {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair("startIndex", &start).append_pair("count", &count);
                if let Some(filter) = filter {
                    query.append_pair("filter", filter);
                }
                query.finish()
            };
            let page: Page<T> = self.get(&format!("{path}?{query}")).await?;
            let empty = page.resources.is_empty();
            entries.extend(page.resources);
            if empty || entries.len() >= page.total {
                return Ok(entries);
            }
        }
    }
}

/// A part of a path.
fn escaped(part: &str) -> String {
    // Unlike in a form, a blank is no plus in a path.
    form_urlencoded::byte_serialize(part.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// A text within a filter.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The headers of a form that a client sends.
fn client_headers(client: &str, secret: &str) -> Result<HeaderMap, AdminError> {
    let pair = STANDARD.encode(format!("{client}:{secret}"));
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    Ok(HeaderMap::from_iter([
        (header::AUTHORIZATION, header_value(&format!("Basic {pair}"))?),
        (header::CONTENT_TYPE, form),
    ]))
}

fn form_body(fields: &[(&str, &str)]) -> Bytes {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
        .into()
}

fn header_value(text: &str) -> Result<HeaderValue, AdminError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| AdminError::Answer {
        reason: "a credential has characters that no header may have".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}
