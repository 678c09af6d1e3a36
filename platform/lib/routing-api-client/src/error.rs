//! What the routing API refuses, and why a call has no answer.

use std::borrow::Cow;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_net::HttpsError;
use weir_tls::TlsError;
use weir_uaa_client::AdminError;

/// A refusal as the routing API sends it: `{"name": …, "message": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message} ({name})")]
pub struct ApiError {
    /// The kind of the refusal, one of the constants of this type.
    pub name: Cow<'static, str>,
    /// The text for people.
    #[serde(default)]
    pub message: String,
}

impl ApiError {
    /// The answer is not readable as a refusal.
    pub const RESPONSE: &'static str = "ResponseError";
    /// What was asked for does not exist.
    pub const RESOURCE_NOT_FOUND: &'static str = "ResourceNotFoundError";
    /// The request cannot be read, or what is in it is not valid.
    pub const PROCESS_REQUEST: &'static str = "ProcessRequestError";
    /// An HTTP route is not valid.
    pub const ROUTE_INVALID: &'static str = "RouteInvalidError";
    /// The URL of a route service is not valid.
    pub const ROUTE_SERVICE_URL_INVALID: &'static str = "RouteServiceUrlInvalidError";
    /// The database does not answer.
    pub const DB_COMMUNICATION: &'static str = "DBCommunicationError";
    /// There are no random numbers.
    pub const GUID_GENERATION: &'static str = "GuidGenerationError";
    /// The token is not valid or does not allow the call.
    pub const UNAUTHORIZED: &'static str = "UnauthorizedError";
    /// A TCP route is not valid.
    pub const TCP_ROUTE_MAPPING_INVALID: &'static str = "TcpRouteMappingInvalidError";
    /// Another caller changed the entry at the same time.
    pub const DB_CONFLICT: &'static str = "DBConflictError";
    /// All ports of a range are reserved.
    pub const PORT_RANGE_EXHAUSTED: &'static str = "PortRangeExhaustedError";

    /// A refusal with one of the names above.
    #[must_use]
    pub fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name: Cow::Borrowed(name),
            message: message.into(),
        }
    }

    /// The refusal in the body of an answer; [`ApiError::RESPONSE`] with the whole text if there is none.
    pub(crate) fn of(body: &[u8]) -> Self {
        serde_json::from_slice(body)
            .ok()
            .filter(|error: &Self| !error.name.is_empty())
            .unwrap_or_else(|| Self::new(Self::RESPONSE, String::from_utf8_lossy(body)))
    }
}

/// A call was not fulfilled. The texts show no token and no secret.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The secret of the client cannot be read.
    #[error("secret of client `{client}` cannot be used: {reason}")]
    Secret {
        /// The client's id.
        client: String,
        /// What is wrong with its file.
        reason: String,
    },
    /// UAA does not give a token.
    #[error("UAA gives no token for client `{client}`")]
    Token {
        /// The client's id.
        client: String,
        /// Why not.
        source: AdminError,
    },
    /// The routing API does not answer.
    #[error("routing API `{url}` cannot be asked")]
    Https {
        /// The address without a path.
        url: String,
        /// What happened.
        source: HttpsError,
    },
    /// The routing API does not answer in time.
    #[error("routing API `{url}` does not answer")]
    Late {
        /// The address without a path.
        url: String,
    },
    /// The routing API refuses the call.
    #[error("routing API refuses: {error}")]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// What it says.
        error: ApiError,
    },
    /// The answer is not what a routing API says.
    #[error("answer of the routing API is not readable: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
}

impl Classify for ClientError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Tls(error) => error.kind(),
            Self::Secret { .. } => ErrorKind::InvalidInput,
            Self::Token { source, .. } => source.kind(),
            Self::Https { source, .. } => source.kind(),
            Self::Late { .. } => ErrorKind::Timeout,
            Self::Refused { status, .. } => ErrorKind::from_http(*status).unwrap_or(ErrorKind::Internal),
            Self::Answer { .. } => ErrorKind::Unavailable,
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Secret { .. } | Self::Answer { .. } => false,
            Self::Token { source, .. } => source.retryable(),
            Self::Https { source, .. } => source.retryable(),
            Self::Late { .. } => true,
            Self::Refused { status, .. } => {
                matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Tls(error) => error.hint(),
            Self::Secret { .. } => {
                Some("put the secret, or a JSON object of secrets by client, into `client_secret_file`".to_owned())
            }
            Self::Token { source, .. } => source.hint(),
            Self::Https { source, .. } => source.hint(),
            Self::Late { .. } => Some("see whether the routing API runs".to_owned()),
            Self::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED => Some(
                "give the client the scope `routing.routes.write`, `routing.routes.read` or that of the router groups"
                    .to_owned(),
            ),
            Self::Refused { .. } => None,
            Self::Answer { .. } => Some("check that `url` is a routing API".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal is read by its name; any other text is a refusal that nobody can read.
    #[test]
    fn refusals_are_read() {
        let said = |body: &str| {
            let error = ApiError::of(body.as_bytes());
            (error.name.into_owned(), error.message)
        };
        let expected = |name: &str, message: &str| (name.to_owned(), message.to_owned());
        assert_eq!(
            said(r#"{"name":"DBConflictError","message":"again"}"#),
            expected("DBConflictError", "again")
        );
        for text in ["", "no JSON", r#"{"message":"m"}"#, r#"{"name":"","message":"m"}"#] {
            assert_eq!(said(text), expected("ResponseError", text), "{text}");
        }
    }
}
