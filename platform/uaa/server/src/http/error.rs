//! The answer to a refused request: `{"error": …, "error_description": …}`, with the status codes, error codes and texts that
//! the cf CLI and similar clients expect. All errors of the domain are mapped here.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use weir_db::DbError;
use weir_error::Classify as _;
use weir_jose::Flaw;
use weir_net::BodyError;
use weir_platform_uaa_core::hashing::Busy;
use weir_platform_uaa_core::refusal::Refusal;
use weir_platform_uaa_store::User;

use crate::http::invalid_grant::InvalidGrant;

/// The text of a locked account, which the cf CLI recognises.
pub(crate) const LOCKED: &str = "Your account has been locked because of too many failed attempts to login.";

/// The answer to a refused request.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) description: String,
    challenge: Challenge,
    retry_after: Option<Duration>,
    extra: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Challenge {
    None,
    Basic,
    Bearer,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status,
            error,
            description: description.into(),
            challenge: Challenge::None,
            retry_after: None,
            extra: Map::new(),
        }
    }

    fn challenged(self, challenge: Challenge) -> Self {
        Self { challenge, ..self }
    }

    /// Adds a member to the answer.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn bad_request(error: &'static str, description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, description)
    }

    pub(crate) fn invalid_request(description: impl Into<String>) -> Self {
        Self::bad_request("invalid_request", description)
    }

    /// A user's name or password is wrong. The answer does not tell which.
    pub(crate) fn bad_credentials() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Bad credentials")
    }

    /// A client's id or secret is wrong.
    pub(crate) fn invalid_client() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", "Bad credentials").challenged(Challenge::Basic)
    }

    /// The request names no client.
    pub(crate) fn no_client() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Full authentication is required to access this resource",
        )
        .challenged(Challenge::Basic)
    }

    /// The request has no token.
    pub(crate) fn no_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Full authentication is required to access this resource",
        )
        .challenged(Challenge::Bearer)
    }

    pub(crate) fn invalid_token(description: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_token", description).challenged(Challenge::Bearer)
    }

    pub(crate) fn insufficient_scope(wanted: &[&str]) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "Insufficient scope for this resource",
        )
        .challenged(Challenge::Bearer)
        .with("scope", wanted.join(" "))
    }

    pub(crate) fn forbidden(description: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "access_denied", description)
    }

    pub(crate) fn scim_not_found(what: &str, id: &str) -> Self {
        let description = format!("{what} {} does not exist", excerpt(id));
        Self::new(StatusCode::NOT_FOUND, "scim_resource_not_found", description)
            .with("message", format!("{what} {} does not exist", excerpt(id)))
    }

    pub(crate) fn invalid_scim(description: impl Into<String>) -> Self {
        let description = description.into();
        Self::bad_request("invalid_scim_resource", description.clone()).with("message", description)
    }

    fn scim_exists(description: impl Into<String>) -> Self {
        let description = description.into();
        Self::new(
            StatusCode::CONFLICT,
            "scim_resource_already_exists",
            description.clone(),
        )
        .with("message", description)
    }

    /// The original names the user who has the name, so that a client can go on with that one.
    fn user_name_in_use(user_name: &str, holder: Option<&User>) -> Self {
        let error = Self::scim_exists(format!("Username already in use: {user_name}"));
        match holder {
            Some(holder) => error
                .with("user_id", holder.id.as_str())
                .with("verified", holder.verified)
                .with("active", holder.active),
            None => error,
        }
    }

    pub(crate) fn too_large(most: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request",
            format!("The request is larger than {most} bytes"),
        )
    }

    /// The server is overloaded, and the client should try again after this time.
    pub(crate) fn unavailable(retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "There is too much to do at the moment; try again later",
            )
        }
    }

    /// The user or the client was changed or revoked during the request. A new attempt sees the present state.
    pub(crate) fn changed_meanwhile() -> Self {
        Self {
            description: "The user or the client was changed during the request; try again".to_owned(),
            ..Self::unavailable(Duration::from_secs(1))
        }
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "Internal error")
    }
}

/// Returns the first characters of a text from a request, without control characters, for an error text.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(80)
        .collect()
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let code = match &error {
            BodyError::TooLarge { limit } => return Self::too_large(*limit),
            BodyError::NoRoom(_) => "temporarily_unavailable",
            BodyError::TooSlow | BodyError::BrokeOff => "invalid_request",
        };
        let description = match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        Self {
            retry_after: error.retryable().then_some(Duration::from_secs(1)),
            ..Self::new(error.kind().http_status(), code, description)
        }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        let text = weir_error::chain(&error);
        match error {
            DbError::Busy | DbError::Unavailable(_) | DbError::Open { .. } | DbError::Conflict(_) => {
                weir_service::limited!(
                    warn,
                    weir_service::EACH_SECOND,
                    error = text,
                    "the database does not answer"
                );
                Self::unavailable(Duration::from_secs(1))
            }
            DbError::Full(_) => {
                tracing::error!(error = text, "the database has no room left");
                Self {
                    description: "There is no room left on the disk of the database: make some, and try again"
                        .to_owned(),
                    ..Self::unavailable(Duration::from_secs(10))
                }
            }
            DbError::Value(_) => Self::invalid_request("A value is too long, or has characters that are not allowed"),
            _ => {
                weir_service::limited!(
                    error,
                    weir_service::EACH_SECOND,
                    error = text,
                    "the database refuses a statement"
                );
                Self::internal()
            }
        }
    }
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        Self::unavailable(busy.retry_after)
    }
}

/// Maps the refusals of the domain to the answers that the cf CLI and other clients expect.
impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadCredentials => Self::bad_credentials(),
            Refusal::Locked => Self::new(StatusCode::UNAUTHORIZED, "unauthorized", LOCKED),
            Refusal::TooManyAttempts => Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_requests",
                    "There are attempts to log in as this user under way; try again later",
                )
            },
            Refusal::Inactive => Self::forbidden("The user is not active"),
            Refusal::NameTaken => Self::forbidden("The user name belongs to another user of the provider"),
            Refusal::UserNameInUse { user_name, holder } => Self::user_name_in_use(&user_name, holder.as_deref()),
            Refusal::GroupNameInUse { display_name } => {
                Self::scim_exists(format!("A group with displayName: {display_name} already exists."))
            }
            Refusal::Policy(problem) => Self::bad_request("invalid_password", problem.clone()).with("message", problem),
            Refusal::SamePassword => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_password",
                "Your new password cannot be the same as the old password.",
            ),
            Refusal::TokenTooLong => Self::bad_request(
                "invalid_scope",
                "The token would be longer than 32 KiB, which servers refuse: request fewer scopes with the parameter `scope`",
            ),
            Refusal::ChangedMeanwhile => Self::changed_meanwhile(),
            Refusal::Busy(busy) => busy.into(),
            Refusal::Database(error) => error.into(),
        }
    }
}

/// Maps refused codes and assertions to `invalid_grant`, in the words of the original.
impl From<InvalidGrant> for ApiError {
    fn from(refused: InvalidGrant) -> Self {
        let description = match refused {
            InvalidGrant::Code => "Invalid authorization code",
            InvalidGrant::RedirectUri => "Redirect URI mismatch.",
            InvalidGrant::WrongVerifier => "Invalid code verifier",
            InvalidGrant::MissingVerifier => "Missing code verifier",
            InvalidGrant::MissingChallenge => "The code was issued without a code challenge",
            InvalidGrant::ChallengeRequired => "A public client must use a code challenge",
            InvalidGrant::Assertion(flaw) => token_refused(flaw),
            InvalidGrant::AssertionScope => "The assertion lacks the scope uaa.user",
            InvalidGrant::AssertionWithoutUser => "The assertion names no user",
            InvalidGrant::AssertionUserGone => "The assertion's user is gone",
            InvalidGrant::AssertionNotConfirmed => "The assertion is not valid",
        };
        Self::bad_request("invalid_grant", description)
    }
}

impl From<Flaw> for ApiError {
    fn from(flaw: Flaw) -> Self {
        Self::invalid_token(token_refused(flaw))
    }
}

/// Returns the description of an invalid token. It tells a client less than a log, in sentences like those of the original.
pub(crate) const fn token_refused(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::TooLong | Flaw::Parts | Flaw::Encoding | Flaw::Header | Flaw::Critical => "The token is malformed",
        Flaw::Algorithm => "The token is not signed as it should be",
        Flaw::NoKey | Flaw::UnknownKey => "The token is signed with a key that is not known",
        Flaw::Signature => "The token's signature is not valid",
        Flaw::Issuer => "The token is from another issuer",
        Flaw::Audience => "The token is for another audience",
        Flaw::Expired => "The token has expired",
        Flaw::NotYetValid => "The token is not valid yet",
        Flaw::Claims | Flaw::Type | Flaw::RefreshToken => "The token lacks claims, or has wrong ones",
        Flaw::Revoked => "The token has been revoked",
    }
}

impl From<weir_platform_uaa_core::Error> for ApiError {
    fn from(error: weir_platform_uaa_core::Error) -> Self {
        weir_service::limited!(
            error,
            weir_service::EACH_SECOND,
            error = weir_error::chain(&error),
            "the UAA failed"
        );
        Self::internal()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = Map::new();
        body.insert("error".to_owned(), self.error.into());
        body.insert("error_description".to_owned(), self.description.clone().into());
        body.extend(self.extra);
        let mut response = (self.status, Json(Value::Object(body))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let challenge = match self.challenge {
            Challenge::None => None,
            Challenge::Basic => Some("Basic realm=\"UAA/client\"".to_owned()),
            Challenge::Bearer => Some(format!(
                "Bearer realm=\"UAA/oauth\", error=\"{}\", error_description=\"{}\"",
                self.error,
                quoted(&self.description)
            )),
        };
        if let Some(value) = challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, after.as_secs().max(1).into());
        }
        response
    }
}

/// Removes the characters that cannot stand in a quoted string of a header.
fn quoted(text: &str) -> String {
    text.chars()
        .filter(|character| (character.is_ascii_graphic() || *character == ' ') && !matches!(character, '"' | '\\'))
        .collect()
}
