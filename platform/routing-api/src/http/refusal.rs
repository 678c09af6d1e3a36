//! Refusals, in the original's form: `{"name": …, "message": …}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use weir_auth::Denied;
use weir_db::DbError;
use weir_error::{Classify as _, chain};
use weir_net::BodyError;
use weir_routing_api_client::ApiError;

/// Why a request is not fulfilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: ApiError,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error: ApiError::new(name, message),
        }
    }

    /// The token does not allow it.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ApiError::UNAUTHORIZED, message)
    }

    /// Whether the token allows it cannot be said now.
    pub(crate) fn unchecked(denied: Denied) -> Self {
        Self::new(denied.kind().http_status(), ApiError::UNAUTHORIZED, denied.to_string())
    }

    /// The request cannot be read, or what is in it is not valid.
    pub(crate) fn process(reason: &str) -> Self {
        let message = format!("Cannot process request: {reason}");
        Self::new(StatusCode::BAD_REQUEST, ApiError::PROCESS_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ApiError::RESOURCE_NOT_FOUND, message)
    }

    /// The body is too large or does not arrive.
    pub(crate) fn body(error: BodyError) -> Self {
        Self {
            status: error.kind().http_status(),
            ..Self::process(&error.to_string())
        }
    }

    /// A backup is made or restored.
    pub(crate) fn locked() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ApiError::DB_COMMUNICATION,
            "database unavailable due to backup or restore",
        )
    }
}

impl From<ApiError> for Refusal {
    /// What is not valid, under its own name.
    fn from(error: ApiError) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
        }
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Value(_) => Self::process(&error.to_string()),
            DbError::Duplicate(_) | DbError::Conflict(_) => {
                Self::new(StatusCode::CONFLICT, ApiError::DB_CONFLICT, error.to_string())
            }
            error => {
                tracing::error!(error = chain(&error), "request failed at the database");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    ApiError::DB_COMMUNICATION,
                    error.to_string(),
                )
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        tracing::debug!(status = self.status.as_u16(), name = %self.error.name, "request refused");
        let is_busy = matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        );
        let mut response = (self.status, Json(self.error)).into_response();
        if is_busy {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
