//! UAA from the command line: logging in (`grants`), and who there is (`directory`).
//!
//! Everything goes over HTTPS to the `uaa` of `endpoints.json`, whose certificate must come from the stack's CA. Passwords,
//! secrets and tokens are in bodies and headers only, and in no error.

mod directory;
mod grants;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;
use weir_error::ErrorKind;
use weir_tls::ClientTls;

pub(crate) use directory::{Administrator, Client, EVERYBODY, Group, User};
pub(crate) use grants::Tokens;

use super::{Stack, http as wire};
use crate::failure::Failure;

/// Longest answer: a page of users.
const MAX_ANSWER: usize = 8 << 20;
/// Hashing may have to wait its turn; longer than this it does not.
const DEADLINE: Duration = Duration::from_secs(30);

/// The UAA of a stack.
#[derive(Debug, Clone)]
pub(crate) struct Uaa {
    /// `https://host:port`.
    url: String,
    tls: ClientTls,
}

/// What UAA says instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// `invalid_token`, `scim_resource_already_exists`, …
    pub(crate) error: String,
    pub(crate) description: String,
}

impl Refusal {
    fn read(status: StatusCode, text: &str) -> Self {
        let parsed: Value = serde_json::from_str(text).unwrap_or_default();
        let field = |name: &str| parsed.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let description = match field("error_description") {
            said if said.is_empty() => status.to_string(),
            said => said,
        };
        Self {
            status,
            error: field("error"),
            description,
        }
    }

    /// The failure of a command that wanted `subject`.
    pub(crate) fn of(&self, subject: impl std::fmt::Display) -> Failure {
        let kind = ErrorKind::from_http(self.status).unwrap_or(ErrorKind::Internal);
        let mut description = self.description.trim_end_matches('.').to_owned();
        // Its sentences begin with a capital letter, ours do not.
        if let Some(first) = description.get_mut(..1)
            && !self.description.get(1..2).is_some_and(|second| second.chars().all(char::is_uppercase))
        {
            first.make_ascii_lowercase();
        }
        let failure = Failure::new(kind, format!("{subject}: {description}"));
        match kind {
            ErrorKind::Unavailable | ErrorKind::RateLimited => failure.with_hint("there is much to do; try again in a moment"),
            _ => failure,
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// UAA said no.
    Refused(Refusal),
    /// It could not be asked.
    Failed(Failure),
}

impl Unanswered {
    /// The failure of a command that wanted `subject`.
    pub(crate) fn of(self, subject: impl std::fmt::Display) -> Failure {
        match self {
            Self::Refused(refusal) => refusal.of(subject),
            Self::Failed(failure) => failure,
        }
    }

    /// What UAA said, if it said anything.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::Failed(_) => None,
        }
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Uaa {
    /// The UAA of this stack.
    pub(crate) fn of(stack: &Stack) -> Result<Self, Failure> {
        match &stack.endpoints.uaa {
            Some(url) => Ok(Self {
                url: url.clone(),
                tls: stack.tls.clone(),
            }),
            None => Err(Failure::new(
                ErrorKind::NotFound,
                format!("stack in `{}`: has no UAA", stack.state.root().display()),
            )
            .with_hint("it was started by an older version: stop it and start it again with `weir up`")),
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// One request with a form.
    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value, Unanswered> {
        let body: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = Request::post(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request, body.into()).await
    }

    /// One request with a token.
    async fn call(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Unanswered> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("bearer {token}"));
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        self.send(request, body).await
    }

    async fn send(&self, request: http::request::Builder, body: Bytes) -> Result<Value, Unanswered> {
        let request = request
            .header(header::ACCEPT, "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::new(ErrorKind::Internal, format!("request: {error}")))?;
        let answer = async {
            let response = wire::send(&self.tls, request).await?;
            let status = response.status();
            Ok::<_, Failure>((status, wire::text(response, MAX_ANSWER).await?))
        };
        let (status, text) = tokio::time::timeout(DEADLINE, answer)
            .await
            .map_err(|_| {
                Failure::new(
                    ErrorKind::Timeout,
                    format!("UAA at `{}`: no answer within {} s", self.url, DEADLINE.as_secs()),
                )
                .with_hint("is the stack well? `weir doctor` looks")
            })??;
        if !status.is_success() {
            return Err(Unanswered::Refused(Refusal::read(status, &text)));
        }
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|_| {
            // The text may hold a token: it is not repeated.
            let text = format!("UAA at `{}`: its answer is no JSON", self.url);
            Failure::new(ErrorKind::Internal, text).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What UAA says is said in our form; where it says nothing, the status is.
    #[test]
    fn refusals_are_told() {
        let text = r#"{"error":"unauthorized","error_description":"Bad credentials"}"#;
        let refusal = Refusal::read(StatusCode::UNAUTHORIZED, text);
        assert_eq!(refusal.error, "unauthorized");
        let failure = refusal.of("login as `alice`");
        assert_eq!(failure.to_string(), "error: login as `alice`: bad credentials");
        assert_eq!(failure.kind(), ErrorKind::Unauthenticated);

        let busy = Refusal::read(StatusCode::SERVICE_UNAVAILABLE, "<html>").of("users");
        assert_eq!(
            busy.to_string(),
            "error: users: 503 Service Unavailable\nhint: there is much to do; try again in a moment"
        );
    }
}
